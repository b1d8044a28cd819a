"""Arguments and options that several commands of smoleval take, each written once. Imports typer only."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Checkpoint = Annotated[
    Path | None,
    typer.Argument(help="A checkpoint in Hugging Face form, or a run (default: the newest run of --build)."),
]
Tasks = Annotated[str, typer.Option(help="Suites, names or patterns, such as base or mmlu_cf,belebele_*.")]
Profile = Annotated[
    Literal["hub", "packaged", "fixture", "offline"],
    typer.Option(help="Rows: the hub's, real ones in packages, fixtures, or what is offline."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many items of each subset.")]
MaxLength = Annotated[int | None, typer.Option(min=2, help="Longest input in tokens.")]
Build = Annotated[Path, typer.Option(help="The build folder.")]
Out = Annotated[Path | None, typer.Option(help="Folder of scores (default: scores/ of the build's profile).")]
Tokenizer = Annotated[Path | None, typer.Option(help="Tokenizer (default: the checkpoint's).")]
Device = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16, float16 or auto.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
BUILD = Path("build")
