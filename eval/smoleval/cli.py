"""The command line of smoleval. Nothing heavy is imported before a command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoldata.console import run_command
from smoleval import cli_book, cli_compare, cli_run
from smoleval.cli_options import BUILD, Build, Checkpoint, Json, Out
from smoleval.cli_ruler import app as ruler_app

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from smoleval.scores import Score

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Checkpoints in; scores out.")
app.add_typer(ruler_app, name="ruler")
app.command("compare")(cli_compare.compare)
app.command("scores")(cli_book.scores)
app.command("items")(cli_book.items)
app.command("watch")(cli_book.watch)


@app.callback()
def _group() -> None:
    """Checkpoints in; scores that name their task, data and checkpoint out."""


@app.command()
def heldout(
    checkpoint: Checkpoint = None,
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle whose validation split is scored (default: the run's).")
    ] = None,
    build: Build = BUILD,
    root: Annotated[
        Path | None, typer.Option(help="Where the shards are, if not where the bundle says.")
    ] = None,
    out: Out = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="At most this many tokens of a source.")] = 65536,
    length: Annotated[int | None, typer.Option(min=1, help="Longest context (default: the plan's).")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="File of a tokenizer of one's own.")] = None,
    as_json: Json = False,
) -> None:
    """Score a checkpoint on text that no training window holds: loss and bits per byte, per source.

    Example: smoleval heldout --build build
    """
    from smoldata.console import progress, say
    from smoldata.errors import TokenizerError
    from smoleval.scores import save_scores, scores_folder
    from smoltrain.bundle import open_bundle
    from smoltrain.cli import need_torch
    from smoltrain.pieces import load_pieces, tokenizer_of
    from smoltrain.run import bundle_of, newest_run, run_of

    given = checkpoint or newest_run(build)
    opened = open_bundle(bundle or bundle_of(run_of(given)), root)
    need_torch()
    folder = newest_checkpoint(given)
    try:
        pieces = load_pieces(tokenizer_of(opened, tokenizer))
    except TokenizerError as error:
        if tokenizer is not None:
            raise
        say(f"no bits per byte: {error}")
        pieces = None
    from smoleval.heldout import Settings, score_checkpoint, unscored, validation_splits

    settings = Settings(length or opened.sequence_length, max_tokens)
    with progress("held-out loss", len(validation_splits(opened))) as advance:
        scores = score_checkpoint(folder, opened, settings, pieces, advance)
    path = save_scores(scores, out or scores_folder(folder, build))
    _show(scores, path, as_json=as_json)
    _say_unscored(*unscored(opened))


def _say_unscored(names: "Sequence[str]", weight: "Fraction") -> None:
    """Say what the mixture's loss leaves out: a source with little text may have no validation document."""
    from smoldata.console import say

    if names:
        say(
            f"(mixture) is over {float(100 * (1 - weight)):.1f} % of the planned weight; no validation text: "
            f"{', '.join(names)}; a larger `validation` in the recipe reserves more"
        )


def newest_checkpoint(path: Path) -> Path:
    """Return ``path``, or the newest checkpoint in it if it is a run."""
    from smoltrain.checkpoint import complete

    found = complete(path / "checkpoints")
    return found[-1] if found else path


def _show(scores: "Sequence[Score]", path: Path, *, as_json: bool) -> None:
    import json

    from smoldata.console import say, table
    from smoleval.scores import as_row

    if as_json:
        print(json.dumps([as_row(score) for score in scores], indent=2))
        return
    by_subset: dict[str, dict[str, Score]] = {}
    for score in scores:
        by_subset.setdefault(score.subset, {})[score.metric] = score
    rows = []
    for subset, metrics in by_subset.items():
        loss, bits = metrics["loss"], metrics.get("bits_per_byte")
        numbers = [cli_run.number(loss), cli_run.number(bits) if bits else ""]
        rows.append([subset, loss.items, f"{loss.tokens:,}", *numbers])
    first = scores[0]
    columns = ["source", "documents", "tokens", "loss", "bits per byte"]
    table(
        f"held-out loss of {first.checkpoint} (weights {first.checkpoint_sha256[:12]})",
        columns,
        rows,
        right=columns[1:],
    )
    say(f"scores: {path}")


cli_run.register(app)


def main() -> None:
    """Run the command line."""
    run_command(app)
