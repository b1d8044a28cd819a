"""``smoltrain spike``: a log in; steps at which the loss leapt, and the documents they saw, out."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from smoltrain.bundle import Bundle
    from smoltrain.spike import Log, Spike
    from smoltrain.what import Seen


def spike(
    log: Annotated[Path, typer.Argument(help="log.jsonl of a run, nanotron's output, or a CSV of losses.")],
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle that was read (default: the one the log's run names).")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Where the shards are, if not where the bundle says.")
    ] = None,
    first: Annotated[
        int | None,
        typer.Option(
            help="Number that the log gives the stage's first step (default: 0; of nanotron: its own)."
        ),
    ] = None,
    window: Annotated[int, typer.Option(help="Steps that a step is compared with.")] = 100,
    threshold: Annotated[
        float, typer.Option(help="Scaled median absolute deviations that make a spike.")
    ] = 8.0,
    documents: Annotated[int, typer.Option(min=0, help="Documents to print of each spike.")] = 12,
    tokenizer: Annotated[Path | None, typer.Option(help="File of a tokenizer of one's own.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Find spikes of the loss and print what was seen there, by the plan's order.

    Example: smoltrain spike build/sample/runs/<run>/log.jsonl
    """
    from smoltrain.spike import find_spikes, read_losses

    read = read_losses(log)
    spikes = find_spikes(read.points, window=window, threshold=threshold)
    opened = _bundle(log, bundle, root)
    begin = _first_step(read, opened, first)
    seen = [_seen(opened, one.step - begin, tokenizer) for one in spikes]
    if as_json:
        rows = [{**asdict(one), "seen": None if docs is None else [asdict(doc) for doc in docs]}
                for one, docs in zip(spikes, seen, strict=True)]  # fmt: skip
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    _show(read, spikes, seen, documents, begin)


def _bundle(log: Path, bundle: Path | None, root: Path | None) -> "Bundle | None":
    """Return the bundle that was read; None if neither the user nor the log's folder names one."""
    from smoltrain.bundle import open_bundle
    from smoltrain.run import RunFolder, bundle_of

    if bundle is None and RunFolder(log.parent).facts.is_file():
        bundle = bundle_of(log.parent)
    return None if bundle is None else open_bundle(bundle, root)


def _first_step(log: "Log", bundle: "Bundle | None", first: int | None) -> int:
    """Return the number that the log gives the stage's first step."""
    if first is not None or not log.by_nanotron or bundle is None:
        return first or 0
    from smoltrain.nanotron.settings import read

    return int(read(bundle.folder / "nanotron.yaml")["data_stages"][-1]["start_training_step"])


def _seen(bundle: "Bundle | None", step: int, tokenizer: Path | None) -> "list[Seen] | None":
    """Return what a step of the stage saw; None where no bundle is known or the step is of another stage."""
    from smoltrain.pieces import load_pieces, tokenizer_of
    from smoltrain.what import seen_in_step

    if bundle is None or not 0 <= step < bundle.steps:
        return None
    return list(seen_in_step(bundle, step, load_pieces(tokenizer_of(bundle, tokenizer))))


def _show(
    log: "Log", spikes: "list[Spike]", seen: "list[list[Seen] | None]", documents: int, begin: int
) -> None:
    from smoldata.console import say, table

    say(f"{len(log.points):,} steps, {log.points[0].step} to {log.points[-1].step}: {len(spikes)} spikes")
    cells: list[list[Any]] = [
        [_span(one), f"{one.loss:.3f}", f"{one.expected:.3f}", f"{one.deviations:.0f}"] for one in spikes
    ]
    if spikes:
        columns = ["step", "loss", "expected", "deviations"]
        table("spikes of the loss", columns, cells, right=columns)
    for one, docs in zip(spikes, seen, strict=True):
        if docs is None:
            say(f"step {one.step}: what it saw is not known: name its stage's bundle with --bundle")
            continue
        rows = [[doc.source, doc.document, doc.tokens, " ".join(doc.text.split())[:60]] for doc in docs]
        more = f", {documents} of {len(rows)} documents" if len(rows) > documents else ""
        if documents:
            title = f"step {one.step - begin} of the stage{more}"
            table(title, ["source", "document", "tokens", "text"], rows[:documents], right=["tokens"])
    if log.by_nanotron and any(docs is not None for docs in seen):
        say(
            "by the plan's order: right for `smoltrain nanotron run`; nanotron's own loader has another order"
        )


def _span(one: "Spike") -> str:
    return str(one.step) if one.first == one.last else f"{one.first}-{one.last}, most at {one.step}"
