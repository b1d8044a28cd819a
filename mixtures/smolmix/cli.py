"""``smolmix``: build, ask, explain, hand over and verify mixtures."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from smoldata.console import out, run_command, say
from smoldata.errors import EXIT_FAILED, InputError
from smolmix.build import Request, build, bundle_folder, parse_profile, plan_folder, read_job
from smolmix.change_cli import add_change_commands
from smolmix.export_cli import add_export_commands
from smolmix.faces_cli import add_face_commands
from smolmix.lint_cli import add_lint_command
from smolmix.planner_cli import add_planner_commands

app = typer.Typer(
    name="smolmix",
    help="Exact mixtures: from a recipe to documents, token shards, a plan, a catalog and a bundle.\n\n"
    "Exit codes: 0 done, 1 failed, 2 wrong input, 130 interrupted.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

Stage = Annotated[str, typer.Option(help="A shipped recipe: 1, 2, 3, 32k, 64k or mid.")]
RecipeFile = Annotated[Path | None, typer.Option(help="A recipe of your own (YAML).")]
Preset = Annotated[str, typer.Option(help="Preset of the recipe: blog or released.")]
Profile = Annotated[str, typer.Option(help="sample (offline), full (no data, published sizes) or hub.")]
Budget = Annotated[str, typer.Option(help="Replaces the recipe's budget: 100B, 2T, '2000 steps'.")]

Build = Annotated[Path, typer.Option("--build", help="The build folder.")]
DEFAULT_BUILD = Path("build")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def _request(
    stage: str, recipe: Path | None, preset: str, profile: str, budget: str, build_folder: Path
) -> Request:
    if bool(stage) == (recipe is not None):
        raise InputError(
            "say which mixture: STAGE=1, 2, 3, 32k, 64k or mid (--stage), "
            "or a RECIPE=file.yaml (--recipe), not both"
        )
    which = str(recipe) if recipe else stage
    return Request(which, preset or None, parse_profile(profile), budget or None, build_folder)


@app.command("build")
def build_command(
    stage: Stage = "",
    recipe: RecipeFile = None,
    preset: Preset = "",
    profile: Profile = "sample",
    budget: Budget = "",
    build_folder: Build = DEFAULT_BUILD,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one a core.")] = 0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a large download.")] = False,
    limit_bytes: Annotated[int, typer.Option(min=0, help="A trial: text bytes of each source; 0: all.")] = 0,
    limit_tokens: Annotated[
        int, typer.Option(min=0, help="A trial: tokens of each source, about; 0: all.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no table.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Look at everything, even if nothing seems to have changed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build a mixture: documents, token shards, exact plan, catalog, report and bundle.

    Example: smolmix build --stage 2
    """
    from dataclasses import replace

    from smolmix import quick
    from smolmix.summary import print_plan

    request = _request(stage, recipe, preset, profile, budget, build_folder)
    request = replace(request, limit_bytes=limit_bytes or None, limit_tokens=limit_tokens or None)
    built = build(replace(request, workers=workers, assume_yes=yes))
    plan = built.plans[-1]
    name = f"{plan.name} ({plan.preset}, {plan.profile})" if plan.preset else f"{plan.name} ({plan.profile})"
    lines = [
        f"lock     {plan.lock.hash}",
        f"bundle   {built.bundle}",
        f"catalog  {built.catalog}",
        f"report   {built.report}",
    ]
    message = "\n".join([f"{name} is up to date: nothing to do", *lines])
    if not force:
        quick.record(sys.argv[1:], built.watched, message)
    if as_json:
        out.print_json(json.dumps(plan.as_json()))
    elif not quiet:
        print_plan(plan)
        print("\n".join(lines))


@app.command()
def show(
    stage: Stage = "",
    recipe: RecipeFile = None,
    preset: Preset = "",
    profile: Profile = "sample",
    build_folder: Build = DEFAULT_BUILD,
    findings: Annotated[int, typer.Option(help="Findings to print.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Print the plan of a stage that is built.

    Example: smolmix show --stage 2
    """
    from smolmix.plan import load_plan
    from smolmix.summary import print_plan

    request = _request(stage, recipe, preset, profile, "", build_folder)
    last = read_job(request).stages[-1]
    plan = load_plan(plan_folder(request, last.recipe.name, last.preset.name))
    if as_json:
        out.print_json(json.dumps(plan.as_json()))
    else:
        print_plan(plan, findings=findings)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="SQL; none: list the views.")] = "",
    build_folder: Build = DEFAULT_BUILD,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Ask the catalog, or list its views with an example each.

    Example: smolmix sql "select source, tokens from sources order by tokens desc limit 5"
    """
    from smolmix.sql_shell import Format, print_query, print_views

    output: Format = "json" if as_json else "csv" if as_csv else "table"
    if query.strip():
        print_query(build_folder, query, output)
    else:
        print_views(build_folder, output)


@app.command()
def report(
    build_folder: Build = DEFAULT_BUILD,
) -> None:
    """Write the catalog and the report page anew.

    Example: smolmix report
    """
    from smoldata.files import remove_leftovers, single_writer, storage_errors
    from smolmix.catalog import write_catalog
    from smolmix.report import write_report

    if not any(build_folder.glob("*/plans")):
        raise InputError(f"nothing is planned in {build_folder}; run `make mixture STAGE=2` first")
    with storage_errors(build_folder), single_writer(build_folder):
        remove_leftovers(build_folder)
        print(write_catalog(build_folder))
        print(write_report(build_folder))


@app.command()
def handoff(
    stage: Stage = "",
    recipe: RecipeFile = None,
    preset: Preset = "",
    profile: Profile = "sample",
    budget: Budget = "",
    build_folder: Build = DEFAULT_BUILD,
) -> None:
    """Bring a mixture up to date and print where its bundle is and what is in it.

    Example: smolmix handoff --stage 2
    """
    built = build(_request(stage, recipe, preset, profile, budget, build_folder))
    for path in sorted(built.bundle.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:>12,}  {path}")
    say(f"next: read {built.bundle / 'README.md'}; `make verify BUNDLE={built.bundle}` proves every byte")


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    root: Annotated[
        Path | None, typer.Option(help="Folder that holds tokens/, if the shards were moved.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read every byte of a bundle and of its shards; name what is not as recorded (exit code 1).

    Example: smolmix verify build/sample/bundles/stage2-blog
    """
    from dataclasses import asdict

    from smolmix.verify import verify_bundle

    seen = verify_bundle(bundle, root)
    if as_json:
        out.print_json(json.dumps(asdict(seen) | {"ok": seen.ok}))
    else:
        for difference in seen.differences:
            print(difference)
        state = "all as recorded" if seen.ok else f"{len(seen.differences)} differences"
        print(f"{seen.files} files and {seen.shards} shards, {seen.bytes:,} bytes, lock {seen.lock}: {state}")
    if not seen.ok:
        raise typer.Exit(EXIT_FAILED)


@app.command("link-shards")
def link_shards_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    into: Annotated[Path, typer.Option(help="Folder of the run; s3-shards/ is made there.")],
    root: Annotated[
        Path | None, typer.Option(help="Folder that holds tokens/, if the shards were moved.")
    ] = None,
) -> None:
    """Link a bundle's shards into one folder a source, in the plan's order, as nanotron reads them.

    Example: smolmix link-shards build/sample/bundles/stage2-blog --into run
    """
    from smolmix.nanotron_shards import link_shards

    say(f"{link_shards(bundle, into, root):,} links in {into / 's3-shards'}")


@app.command()
def path(
    what: Annotated[str, typer.Argument(help="plan or bundle.")],
    stage: Stage = "",
    recipe: RecipeFile = None,
    preset: Preset = "",
    profile: Profile = "sample",
    budget: Budget = "",
    build_folder: Build = DEFAULT_BUILD,
) -> None:
    """Print where the plan or the bundle of a stage lies.

    Example: smolmix path bundle --stage 2
    """
    request = _request(stage, recipe, preset, profile, budget, build_folder)
    job = read_job(request)
    last = job.stages[-1]
    places = {"plan": plan_folder(request, last.recipe.name, last.preset.name), "bundle": bundle_folder(job)}
    if what not in places:
        raise InputError(f"path is one of {', '.join(places)}, not {what!r}")
    print(places[what])


@app.command()
def explain(
    source: Annotated[str, typer.Argument(help="A source's name.")],
    recipe: Annotated[str, typer.Option(help="One recipe: a short name or a path; none: all shipped.")] = "",
    preset: Preset = "",
    as_json: AsJson = False,
) -> None:
    """Print how a source's weight came about, factor by factor.

    Example: smolmix explain dclm --recipe 2
    """
    import smolmix

    found = smolmix.explain(source, recipe or None, preset or None)
    if as_json:
        out.print_json(json.dumps([one.as_json() for one in found]))
    else:
        print("\n".join(one.as_text() for one in found))


@app.command()
def weights(
    stage: Annotated[str, typer.Argument(help="A recipe: short name, name or path.")],
    preset: Annotated[str, typer.Option(help="blog or released.")] = "blog",
    as_json: AsJson = False,
) -> None:
    """Print the exact weights of a stage; they sum to 1.

    Example: smolmix weights 2 --preset released
    """
    import smolmix
    from smolmix.literals import decimal_text, fraction_text

    exact = smolmix.weights(stage, preset)
    if as_json:
        out.print_json(json.dumps({name: fraction_text(weight) for name, weight in exact.items()}))
        return
    for name, weight in exact.items():
        print(f"{decimal_text(100 * weight, 6):>12} %  {fraction_text(weight):<28} {name}")


add_planner_commands(app)
add_lint_command(app)
add_face_commands(app)
add_export_commands(app)
add_change_commands(app)


def main() -> None:
    """Run the command line program."""
    run_command(app)


if __name__ == "__main__":
    main()
