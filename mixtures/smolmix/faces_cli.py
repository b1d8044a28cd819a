"""The commands of ``smolmix`` that show a mixture to others: figures, card."""

from pathlib import Path
from typing import Annotated

import typer

Build = Annotated[Path, typer.Option("--build", help="The build folder.")]
PlanFolder = Annotated[Path, typer.Option(help="A plan's folder, such as build/sample/plans/stage2-blog.")]


def add_face_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    app.command("figures")(figures_command)


def figures_command(
    into: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    build_folder: Build = Path("build"),
    png: Annotated[bool, typer.Option("--png", help="PNG beside each SVG (needs resvg-py).")] = False,
) -> None:
    """Write every picture of the report as an SVG file, and as PNG on request: for papers and slides.

    Example: smolmix figures --out figures
    """
    from smolmix.figure_files import write_figures

    for path in write_figures(build_folder, into, png=png):
        print(path)
