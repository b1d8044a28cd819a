"""What the commands of post-training ask alike: their options' types, known names, and what is refused.

Cost: typer alone is imported.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

LOSSES = {"apo_zero": "apo_zero", "apo_down": "apo_down", "dpo": "sigmoid"}
"""Names of the losses of pairs, as TRL calls them."""

BuildOption = Annotated[Path, typer.Option(help="The build folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
ProfileOption = Annotated[str, typer.Option(help="sample (offline) or hub (the published dataset).")]
PresetOption = Annotated[str, typer.Option(help="tiny or small, or the published schedules: blog, recipe.")]
RowsOption = Annotated[
    Path | None, typer.Option(help="A folder of Parquet rows in the hub's layout, instead of the profile's.")
]
TokenizerOption = Annotated[
    Path | None, typer.Option(help="A tokenizer folder of one's own, with SmolLM3's control tokens.")
]
LossOption = Annotated[str, typer.Option(help="Of the pairs: apo_zero, apo_down or dpo.")]
MicroBatchOption = Annotated[int, typer.Option(min=1, help="Rows of one pass on one device.")]
EvaluationsOption = Annotated[
    list[Path] | None, typer.Option(help="Evaluation sets: rows that hold something of them are dropped.")
]


def refuse_unknown(what: str, given: str, known: Iterable[str]) -> None:
    """Raise InputError when ``given`` is not one of the known names."""
    from smoldata.errors import InputError

    if given not in (names := tuple(known)):
        raise InputError(f"unknown {what} {given!r}; known are {', '.join(names)}")


def make_ready(profile: str, loss: str) -> None:
    """Check what a run of post-training needs, names and torch; silence warnings of other libraries."""
    import warnings

    from smoltrain.cli import need_torch

    refuse_unknown("profile", profile, ("sample", "hub"))
    refuse_unknown("loss", loss, LOSSES)
    need_torch()
    # TRL and transformers warn of each other's names, which we can't act on.
    warnings.filterwarnings("ignore", category=FutureWarning)


def validation_of(profile: str) -> Fraction:
    """Return the share of rows that is held out: more of the small sample."""
    return Fraction(1, 20) if profile == "sample" else Fraction(1, 1000)
