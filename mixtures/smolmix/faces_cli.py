"""The commands of ``smolmix`` that show a mixture to others: figures, card."""

from pathlib import Path
from typing import Annotated

import typer

Build = Annotated[Path, typer.Option("--build", help="The build folder.")]
PlanFolder = Annotated[Path, typer.Option(help="A plan's folder, such as build/sample/plans/stage2-blog.")]


def add_face_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    app.command("figures")(figures_command)
    app.command("card")(card_command)


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


def card_command(
    plan: PlanFolder,
    out: Annotated[
        Path | None, typer.Option(help="The card's file; default README.md in the profile's folder.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Your recipe, if it names a registry of its own.")
    ] = None,
) -> None:
    """Write a Hugging Face dataset card of a plan's documents, and croissant.json beside it.

    Example: smolmix card --plan build/sample/plans/stage2-blog --out README.md
    """
    from smoldata.registry import load_registry
    from smolmix.card import write_card
    from smolmix.recipe import load_recipe

    registry = load_registry(load_recipe(str(recipe)).registry if recipe else None)
    for path in write_card(plan, out, registry=registry):
        print(path)
