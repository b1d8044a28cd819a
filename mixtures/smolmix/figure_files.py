"""The report's pictures as files: ``<profile>-<recipe>-<preset>-<picture>.svg``, and ``.png`` on request.

resvg makes the PNG (a wheel of 1.4 MB without other dependencies, the extra ``figures``): twice the size of
the page, on white. It draws text with the machine's fonts, so PNG bytes may differ between machines; SVG
bytes do not. Cost: 0.1 s a picture.
"""

from pathlib import Path

from smoldata.errors import InputError
from smoldata.files import write_atomic
from smoldata.registry import load_registry
from smolmix.report_curriculum import curricula, figures
from smolmix.report_sections import drawn

PNG_ZOOM = 2


def write_figures(build: Path, into: Path, *, png: bool = False) -> list[Path]:
    """Write the pictures of every curriculum and data section of a build folder; return their paths.

    Raises:
        InputError: there is no plan, or PNG is asked for and resvg-py is not installed.
    """
    found = curricula(Path(build))
    if not found:
        raise InputError(f"there is no plan in {build}; run `make mixture STAGE=2` first")
    pictures = {f"{one.anchor}-{name}": svg for one in found for name, svg in figures(one).items()}
    for anchor, _, listed in drawn(Path(build), load_registry()):
        pictures |= {f"{anchor}-{one.name}": one.svg for one in listed}
    written = []
    for name, svg in pictures.items():
        path = Path(into) / f"{name}.svg"
        write_atomic(path, svg + "\n")
        written.append(path)
        if png:
            image = path.with_suffix(".png")
            write_atomic(image, png_bytes(svg))
            written.append(image)
    return written


def png_bytes(svg: str) -> bytes:
    """Return a picture as PNG on white. Raises InputError without resvg-py."""
    try:
        import resvg_py
    except ImportError as error:
        raise InputError(
            "PNG needs the package resvg-py: `.venv/bin/python -m pip install 'resvg-py>=0.5,<1'`; "
            "without --png the SVG files are written"
        ) from error
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, background="white", zoom=PNG_ZOOM))
