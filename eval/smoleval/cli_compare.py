"""``smoleval compare``: the same items through lighteval and lm-eval. Light until it runs."""

import json
import os
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from sys import stderr
from typing import TYPE_CHECKING, Annotated

import typer

from smoleval.cli_options import BUILD, Build, Device, Dtype, Json, Limit, MaxLength, Profile, Tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smoleval.lmeval import Agreement


def compare(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="A checkpoint or a run (default: SmolLM2-135M-Instruct out of a package, 93 MB)."
        ),
    ] = None,
    tasks: Annotated[str, typer.Option(help="Tasks scored by log-likelihood.")] = "boolq_cf,piqa_cf",
    profile: Profile = "offline",
    limit: Limit = 40,
    max_length: MaxLength = None,
    build: Build = BUILD,
    tokenizer: Tokenizer = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    as_json: Json = False,
) -> None:
    """Score the same items with lighteval and with lm-eval, and say how far ln p, picks and scores agree.

    Example: smoleval compare --tasks boolq_cf,piqa_cf --limit 40
    """
    from smoldata.console import progress
    from smoleval.cli import newest_checkpoint
    from smoleval.cli_run import need_lighteval
    from smoleval.engine import Settings, chosen, libraries_environment, prepare, with_fixtures
    from smoltrain.cli import need_torch

    settings = Settings(
        profile, limit, tokenizer=tokenizer, device=device, dtype=dtype, max_length=max_length
    )
    items = chosen(tasks.split(","), settings)
    if profile == "offline":
        items = with_fixtures(items, build / "eval" / "packages")
    os.environ.update(libraries_environment(items))  # before torch: it imports tqdm, which reads it then
    need_torch()
    need_lighteval()
    folder = newest_checkpoint(checkpoint) if checkpoint else _packaged_model(build)
    job = prepare(folder, items, build, settings)
    found = []
    with progress("comparison", len(items)) as advance, redirect_stdout(stderr):
        from smoleval.launcher import quiet
        from smoleval.lmeval import compare_tasks

        quiet()
        for one in compare_tasks(job):
            found.append(one)
            advance(1, one.task)
    _show(found, job.label, as_json=as_json)


def _packaged_model(build: Path) -> Path:
    from smoleval.smallmodel import small_model

    return small_model(build / "eval" / "models", build / "eval" / "packages")


def _show(found: "Sequence[Agreement]", label: str, *, as_json: bool) -> None:
    from smoldata.console import table

    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2))
        return
    columns = ["task", "items", "ln p differs by", "of", "other picks", "lighteval", "lm-eval's own task"]
    rows = [
        [
            one.task,
            one.items,
            f"{one.largest_difference:.1e}",
            f"{one.mean_length:.2f}",
            one.other_picks,
            _values(one.lighteval),
            _values(one.lm_eval) or "not compared",
        ]
        for one in found
    ]
    table(f"{label} in lighteval and lm-eval; ln p in nats, on the same prompts", columns, rows, columns[1:5])


def _values(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
