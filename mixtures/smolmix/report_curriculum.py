"""A curriculum (plans that follow each other) as a section of the report.

Headline numbers, the mixture over tokens, the flow from source to stage, passes a source, the table of
sources, findings, locks. Every picture is followed by its numbers as a table. Cost: about 0.1 s.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import Any

from smolmix.catalog_rows import read_plan
from smolmix.contamination import HEADS, Exposure, profile_exposures, shown
from smolmix.report_figures import bars, colours_of, ribbons, short
from smolmix.report_flow import Flow, flow_picture
from smolmix.report_html import as_decimal, as_details, as_figure, as_float, as_percent, as_table

_SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)
_SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Curriculum:
    """Plans that follow each other, first stage first."""

    profile: str
    plans: tuple[dict[str, Any], ...]
    contamination: tuple[Exposure, ...] = ()
    """What its stages read of benchmarks; empty without a decontamination report."""

    @property
    def title(self) -> str:
        """Say what the curriculum is: its last stage, preset and profile."""
        last = self.plans[-1]
        preset = f", {last['preset']}" if last["preset"] else ""
        names = " → ".join(plan["name"] for plan in self.plans)
        return f"{names}{preset} ({self.profile}){_change(last)}"

    @property
    def anchor(self) -> str:
        """Return an identifier for links within the page."""
        last = self.plans[-1]
        which = last["lock"]["hash"][:8] if _change(last) else None
        return "-".join(filter(None, (self.profile, last["name"], last["preset"], which)))


def _change(plan: dict[str, Any]) -> str:
    """Say how a plan differs from the one of the same name that its recipe gives; empty if it does not."""
    done = plan["follows"]["lock"].partition("@")[2] if plan["follows"] else ""
    rest = f", the rest after {int(done):,} steps" if done else ""
    taken = f", documents retracted at step {plan['retraction']['at_step']:,}" if "retraction" in plan else ""
    return rest + taken


def curricula(build: Path) -> list[Curriculum]:
    """Return the curricula of a build folder: each chain of plans up to a stage that no other follows."""
    found = []
    for profile in sorted(one for one in build.glob("*") if one.is_dir()):
        plans = [read_plan(path) for path in sorted(profile.glob("plans/*/plan.json"))]
        by_lock = {plan["lock"]["hash"]: plan for plan in plans}
        followed = {plan["follows"]["lock"] for plan in plans if plan["follows"]}
        exposed = profile_exposures(profile)
        chains = [_chain(plan, by_lock) for plan in plans if plan["lock"]["hash"] not in followed]
        for chain in chains:
            locks = {plan["lock"]["hash"] for plan in chain}
            seen = tuple(one for one in exposed if one.lock in locks)
            found.append(Curriculum(profile.name, tuple(chain), seen))
    return found


def _chain(plan: dict[str, Any], by_lock: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    chain = [plan]
    while (before := chain[0]["follows"]) and before["lock"] in by_lock:
        chain.insert(0, by_lock[before["lock"]])
    return chain


def section(one: Curriculum, number: int) -> str:
    """Return the section of a curriculum; ``number`` makes the identifiers of its pictures unique."""
    parts = [
        f'<section aria-labelledby="{escape(one.anchor)}">',
        f'<h2 id="{escape(one.anchor)}">{escape(one.title)}</h2>',
        _headline(one),
        _mixture(one, number),
        _flow(one, number),
        _reconciliation(one),
        _passes(one, number),
        _contamination(one),
        *(_sources(plan, opened=plan is one.plans[-1]) for plan in one.plans),
        *(_findings(plan) for plan in one.plans),
        _locks(one),
        "</section>\n",
    ]
    return "\n".join(parts)


def _headline(one: Curriculum) -> str:
    sources = {source["name"] for plan in one.plans for source in plan["sources"] if source["windows"]}
    absent = {source["name"] for plan in one.plans for source in plan["sources"]} - sources
    numbers = (
        ("tokens", short(sum(plan["tokens"] for plan in one.plans))),
        ("steps", f"{sum(plan['steps'] for plan in one.plans):,}"),
        ("stages", str(len(one.plans))),
        ("sources read", str(len(sources))),
        ("sources not read", str(len(absent))),
        ("tokenizer", one.plans[-1]["tokenizer"]["name"]),
    )
    return "<dl>" + "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in numbers) + "</dl>"


def _shares(plan: dict[str, Any]) -> dict[str, Fraction]:
    shares: dict[str, Fraction] = defaultdict(Fraction)
    for source in plan["sources"]:
        shares[source["group"]] += Fraction(source["weight"])
    return dict(shares)


def _colours(one: Curriculum) -> dict[str, str]:
    """Return a colour a group, the same in all pictures; a domain has the colour of its first group."""
    sources = [source for plan in one.plans for source in plan["sources"]]
    colours = colours_of(source["group"] for source in sources)
    for group, domain in sorted((source["group"], source["domain"]) for source in sources):
        colours.setdefault(domain, colours[group])
    return colours


def _mixture(one: Curriculum, number: int) -> str:
    shares = [_shares(plan) for plan in one.plans]
    stages = [
        (plan["name"], plan["tokens"], {group: float(100 * share) for group, share in here.items()})
        for plan, here in zip(one.plans, shares, strict=True)
    ]
    title = "Mixture over tokens, percent by group"
    groups = sorted({group for here in shares for group in here})
    rows = [[group, *(as_percent(here.get(group)) for here in shares)] for group in groups]
    rows.append(["tokens", *(f"{plan['tokens']:,}" for plan in one.plans)])
    heads = ["group", *(plan["name"] for plan in one.plans)]
    return as_figure(ribbons(f"ribbons-{number}", title, stages, _colours(one)), title) + as_table(
        f"{title}: the numbers", heads, rows, set(heads[1:])
    )


def _flows(one: Curriculum) -> list[Flow]:
    return [
        Flow(source["name"], source["domain"], plan["name"], source["tokens"])
        for plan in one.plans
        for source in plan["sources"]
    ]


def _flow(one: Curriculum, number: int) -> str:
    """Draw source → domain → stage; the table has every source."""
    tokens: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for flow in _flows(one):
        if flow.tokens:
            tokens[flow.domain, flow.source][flow.stage] = flow.tokens
    title = "Tokens from source to domain to stage"
    heads = ["source", "domain", *(plan["name"] for plan in one.plans), "all stages"]
    rows = [
        [source, domain, *(f"{seen.get(plan['name'], 0):,}" for plan in one.plans), f"{sum(seen.values()):,}"]
        for (domain, source), seen in sorted(tokens.items())
    ]
    table = as_table(title, heads, rows, set(heads[2:]))
    picture = flow_picture(f"flow-{number}", title, _flows(one), colours=_colours(one))
    return as_figure(picture, title) + as_details(f"{title}: the numbers", table)


def figures(one: Curriculum, number: int = 0) -> dict[str, str]:
    """Return the pictures of a curriculum by name, as SVG text."""
    drawn = (("mixture", _mixture), ("flow", _flow), ("passes", _passes))
    return {name: _SVG.findall(draw(one, number))[0] for name, draw in drawn}


def _reconciliation(one: Curriculum) -> str:
    """Return blog, released and planned shares of each domain, for the stages that ship; else nothing."""
    rows: list[list[str]] = []
    for plan in one.plans:
        domains = {source["name"]: source["domain"] for source in plan["sources"]}
        planned = {source["name"]: Fraction(source["weight"]) for source in plan["sources"]}
        published = _published(plan["name"])
        columns = [_by_domain(published.get(name, {}), domains) for name in ("blog", "released")]
        columns.append(_by_domain(planned, domains))
        if published:
            rows += [
                [f"{plan['name']}: {domain}", *(as_percent(shares.get(domain)) for shares in columns)]
                for domain in sorted({domain for shares in columns for domain in shares})
            ]
    heads = ["stage and domain", "blog", "released", "planned"]
    return (
        as_table("Blog, released and planned, percent by domain", heads, rows, set(heads[1:])) if rows else ""
    )


def _published(stage: str) -> dict[str, dict[str, Fraction]]:
    """Return the weights of a shipped stage by preset; a recipe of one's own has none."""
    from smolmix.recipe import load_recipe, shipped_recipes

    if stage not in shipped_recipes():
        return {}
    return {preset.name: preset.tree.weights() for preset in load_recipe(stage).presets if preset.name}


def _by_domain(weights: Mapping[str, Fraction], domains: Mapping[str, str]) -> dict[str, Fraction]:
    sums: dict[str, Fraction] = defaultdict(Fraction)
    for name, weight in weights.items():
        sums[domains.get(name, "not in this plan")] += weight
    return dict(sums)


def _passes(one: Curriculum, number: int) -> str:
    """Draw the fifteen sources with the most passes; the table has them all."""
    exact = {
        plan["name"]: {
            one["name"]: Fraction(one["passes"]) if one["passes"] else None
            for one in plan["sources"]
            if one["status"] != "absent"
        }
        for plan in one.plans
    }
    names = sorted({name for values in exact.values() for name in values})
    total = {
        name: sum((values.get(name) or Fraction() for values in exact.values()), Fraction()) for name in names
    }
    most = sorted(names, key=lambda name: (-total[name], name))[:15]
    series = {stage: {name: as_float(values.get(name)) for name in most} for stage, values in exact.items()}
    title = "Passes over a source, by stage"
    heads = ["source", *exact, "all stages"]
    rows = [
        [name, *(_passes_text(values, name) for values in exact.values()), _total_text(exact, name)]
        for name in names
    ]
    picture = bars(f"passes-{number}", title, "passes", series)
    table = as_table(title, heads, rows, set(heads[1:]))
    figure = as_figure(picture, f"{title} (the {len(most)} with the most)")
    return figure + as_details(f"{title}: the numbers", table)


def _total_text(exact: dict[str, dict[str, Fraction | None]], name: str) -> str:
    """Return the passes of all stages; a sum with an unknown part is unknown."""
    seen = [values[name] for values in exact.values() if name in values]
    known = [one for one in seen if one is not None]
    return as_decimal(sum(known, Fraction())) if len(known) == len(seen) else "unknown"


def _passes_text(values: dict[str, Fraction | None], name: str) -> str:
    if name not in values:
        return ""
    passes = values[name]
    return "unknown" if passes is None else as_decimal(passes)


def _sources(plan: dict[str, Any], *, opened: bool) -> str:
    numbers = ["percent", "published", "windows", "tokens", "passes", "shards"]
    heads = ["source", "domain", "status", "weight", *numbers]
    ordered = sorted(plan["sources"], key=lambda one: (-one["windows"], one["name"]))
    rows = [
        [
            one["name"],
            one["domain"],
            one["status"],
            one["weight"],
            as_percent(Fraction(one["weight"])),
            as_percent(Fraction(one["published_weight"])),
            f"{one['windows']:,}",
            f"{one['tokens']:,}",
            as_decimal(Fraction(one["passes"])) if one["passes"] else "unknown" if one["windows"] else "",
            f"{one['shards']:,}",
        ]
        for one in ordered
    ]
    budget = f"<p>{escape(plan['name'])}: {escape(plan['budget']['why'])}.</p>"
    title = f"{plan['name']}: sources"
    table = as_table(title, heads, rows, set(numbers))
    return budget + as_details(f"{title} ({len(rows)})", table, opened=opened)


def _findings(plan: dict[str, Any]) -> str:
    if not plan["findings"]:
        return ""
    order = {severity: number for number, severity in enumerate(_SEVERITIES)}
    ordered = sorted(
        plan["findings"], key=lambda one: (order[one["severity"]], one["code"], one["source"] or "")
    )
    rows = [
        [one["severity"], one["code"], one["source"] or "", one["message"], one["fix"]] for one in ordered
    ]
    counts = ", ".join(
        f"{count} {severity}"
        for severity in _SEVERITIES
        if (count := sum(row[0] == severity for row in rows))
    )
    table = as_table(
        f"{plan['name']}: findings", ["severity", "code", "source", "what", "what to do"], rows, set()
    )
    return as_details(f"{plan['name']}: findings ({counts})", table, opened=rows[0][0] == "error")


def _contamination(one: Curriculum) -> str:
    if not one.contamination:
        return ""
    caption = "Benchmark text in training documents, and how often each stage reads it"
    return "<h3>Contamination</h3>" + as_table(caption, HEADS, shown(one.contamination), set(HEADS[3:]))


def _locks(one: Curriculum) -> str:
    rows = [
        [
            plan["name"],
            f"{plan['steps']:,}",
            f"{plan['tokens']:,}",
            plan["prefix_bound"],
            plan["lock"]["hash"],
        ]
        for plan in one.plans
    ]
    heads = ["stage", "steps", "tokens", "prefix bound (windows)", "lock"]
    return as_table(
        "Locks: one hash over inputs, recipe, tokenizer, seeds and code", heads, rows, {"steps", "tokens"}
    )
