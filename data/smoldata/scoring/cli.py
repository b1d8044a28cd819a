"""``smoldata train-classifier``: arguments in, :mod:`smoldata.scoring.train` does the work, a table out."""

import json
from pathlib import Path
from typing import Annotated

import typer

from smoldata.console import say, table
from smoldata.errors import InputError


def train_classifier_command(
    documents: Annotated[
        list[Path], typer.Argument(help="JSON Lines or Parquet files of labelled documents.")
    ],
    into: Annotated[Path, typer.Option("--into", help="Folder for model, curve and card.")],
    label_column: Annotated[str, typer.Option(help="Column that holds the label or the score.")] = "label",
    text_column: Annotated[str, typer.Option(help="Column that holds the text.")] = "text",
    positive: Annotated[list[str] | None, typer.Option(help="A positive label; again for more.")] = None,
    at_least: Annotated[float | None, typer.Option(help="Score from which a document is positive.")] = None,
    precision: Annotated[
        float | None, typer.Option(min=0, max=1, help="Threshold for this precision.")
    ] = None,
    recall: Annotated[float | None, typer.Option(min=0, max=1, help="Threshold for this recall.")] = None,
    keep: Annotated[float | None, typer.Option(min=0, max=1, help="Threshold that keeps this share.")] = None,
    held_out: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share of documents held out.")] = 0.1,
    passes: Annotated[int, typer.Option(min=1, help="Passes over the documents.")] = 5,
    rate: Annotated[float, typer.Option(min=0.0001, help="Learning rate.")] = 0.1,
    buckets: Annotated[int, typer.Option(min=1, help="Rows for word n-grams; DCLM: 2000000.")] = 200_000,
    encoder: Annotated[
        str | None, typer.Option(help="Fit a head on this encoder (folder or repository), no fastText.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Commit of that repository.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a classifier on labelled documents; its threshold reaches the stated target.

    Example: smoldata train-classifier labelled.jsonl --into classifier --precision 0.9
    Example: smoldata train-classifier a.parquet --into c --label-column score --at-least 3 --keep 0.1
    """
    from smoldata.scoring.curves import Target
    from smoldata.scoring.train import CLASSIFIER, Labels, Learning, train_classifier

    given = [(name, value) for name, value in (("precision", precision), ("recall", recall), ("keep", keep))
             if value is not None]  # fmt: skip
    if len(given) != 1:
        raise InputError("say what the threshold is for, once: --precision, --recall or --keep")
    goal, value = given[0]
    trained = train_classifier(
        documents,
        into,
        Target(goal, value),  # type: ignore[arg-type] # one of the three names
        labels=Labels(text_column, label_column, tuple(positive or ()), at_least),
        learning=Learning(rate=rate, passes=passes, buckets=buckets),
        held_out=held_out,
        encoder=encoder,
        revision=revision,
    )
    if as_json:
        print(json.dumps(json.loads((into / CLASSIFIER).read_bytes()), ensure_ascii=False))
        return
    best = trained.chosen
    row = (f"{best.threshold:.6g}", *(f"{one:.4f}" for one in (best.precision, best.recall, best.kept)))
    names = ("threshold", "precision", "recall", "share kept", "average precision")
    table(
        f"{trained.held_out:,} held-out documents", names, [(*row, f"{trained.average_precision:.4f}")], names
    )
    say(f"model, curve and card: {into}")
