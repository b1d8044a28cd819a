"""``smoldata inspect``: examples of what a source kept and of what it dropped, by reason, in the terminal.

Kept documents are the first of the files; dropped ones those that :mod:`smoldata.dropped` kept as examples,
always the same. Counts are the manifest's, so they cover reasons without examples too.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from smoldata.console import out, table
from smoldata.errors import InputError

KEPT: Final = "kept"


def inspect_command(
    source: Annotated[str, typer.Argument(help="A source that was built.")],
    reason: Annotated[
        list[str] | None, typer.Option("--reason", help="Drops for this reason, or `kept`; again for more.")
    ] = None,
    profile: Annotated[str, typer.Option("--profile", help="sample or hub.")] = "sample",
    build: Annotated[Path, typer.Option("--build", help="Build folder.")] = Path("build"),
    count: Annotated[int, typer.Option("--count", "--n", min=1, help="Examples of each.")] = 3,
    characters: Annotated[int, typer.Option(min=1, help="Characters of each text.")] = 400,
    registry: Annotated[
        Path | None, typer.Option("--registry", help="YAML with sources of your own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, an example a line.")] = False,
) -> None:
    """Show kept and dropped documents of a source, by reason.

    Example: smoldata inspect stack-edu-Rust --n 1
    Example: smoldata inspect fineweb-edu --reason duplicated_5_n_grams
    """
    from smoldata.registry import load_registry

    folder = build / profile / "documents" / load_registry(registry).source(source).name
    counts = _counts(folder)
    unknown = sorted(set(reason or ()) - counts.keys())
    if unknown:
        known = ", ".join(f"{name} ({number:,})" for name, number in counts.items())
        raise InputError(f"{source} dropped nothing for {unknown[0]!r}; it has: {known}")
    chosen = reason or list(counts)
    shown = [row for name in chosen for row in itertools.islice(_examples(folder, name), count)]
    if as_json:
        for row in shown:
            print(json.dumps(row, ensure_ascii=False))
        return
    whole = sum(counts.values())
    rows = [(name, f"{number:,}", f"{number / whole:.2%}") for name, number in counts.items()]
    table(f"{source}: {whole:,} rows", ("outcome", "rows", "share"), rows, right=("rows", "share"))
    _print(shown, chosen, characters)


def _counts(folder: Path) -> dict[str, int]:
    """Return rows by outcome: kept, then the reasons of drops, the most frequent first."""
    from smoldata.errors import SourceError
    from smoldata.merge import read_manifest

    rows = read_manifest(folder)
    if not rows:
        raise SourceError(f"no documents at {folder} (manifest.parquet is missing); run `smoldata build`")
    dropped: dict[str, int] = {}
    for row in rows:
        for name, number in row["dropped"]:
            dropped[name] = dropped.get(name, 0) + number
    kept = {KEPT: sum(row["kept"] for row in rows)}
    return kept | dict(sorted(dropped.items(), key=lambda item: (-item[1], item[0])))


def _examples(folder: Path, reason: str) -> Iterator[dict[str, Any]]:
    """Yield the examples of an outcome."""
    from smoldata.build import built_documents
    from smoldata.dropped import read_examples

    if reason == KEPT:
        for row in built_documents(folder):
            yield {"reason": KEPT} | row | {"scores": dict(row["scores"] or ())}
        return
    for row in read_examples(folder):
        if row["reason"] == reason:
            yield {name: value for name, value in row.items() if name != "order"}


def _print(rows: Sequence[Mapping[str, Any]], reasons: Sequence[str], characters: int) -> None:
    from rich.markup import escape

    for reason in reasons:
        of_reason = [row for row in rows if row["reason"] == reason]
        heading = "kept" if reason == KEPT else f"dropped: {reason}"
        out.print(f"\n[bold]{escape(heading)}[/bold]")
        if not of_reason:
            out.print("no example: such rows were no documents yet")
        for row in of_reason:
            size = row.get("characters") or len(row["text"])
            where = row["url"] or row["path"] or ""
            facts = f"language {row['language']}   license {row['license']}   {size:,} characters"
            out.print(f"[bold]{escape(row['id'])}[/bold] {escape(where)}\n{escape(facts)}", soft_wrap=True)
            out.print(row["text"][:characters].rstrip() + "\n", markup=False, soft_wrap=True)
