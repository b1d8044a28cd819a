"""A Jupyter notebook -> text: cells with their outputs, or one script.

The forms are StarCoder's (Lozhkov et al. 2024, sections 2.4.1 and 5.4; bigcode-project/bigcode-dataset,
``preprocessing/jupyter-structured``): neighbouring cells of a kind are one, of whose outputs the last stays.
*Structured* alternates text, code and output under tags, *script* is code with the text as comments. The tags
are ordinary text to a tokenizer that does not know them. Outputs are what a reader sees as text: streams,
``text/plain`` results and error lines; pictures and HTML are left out. Cost: linear in the notebook.
"""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from smoldata.kinds import Unrenderable

_MOST_OUTPUT_CHARACTERS = 2000
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
Cell = tuple[str, str, str]
"""Kind (``markdown`` or ``code``), source, output."""


def structured(row: Mapping[str, Any]) -> str:
    """Return ``<jupyter_start>``, then text, code and output, each tagged; neighbours of a kind joined."""
    parts = ["<jupyter_start>"]
    for kind, group in groupby(read_cells(row), key=lambda cell: cell[0]):
        cells = list(group)
        if kind == "markdown":
            parts.append("<jupyter_text>" + "\n".join(source for _, source, _ in cells))
            continue
        output = cells[-1][2]
        code = "\n".join(source for _, source, _ in cells)
        parts.append(f"<jupyter_code>{code}<jupyter_output>{output or '<empty_output>'}")
    return "".join(parts)


def script(row: Mapping[str, Any]) -> str:
    """Return one script: code as it is, text as comments, no outputs."""
    return "\n\n".join(_as_script(read_cells(row))) + "\n"


def kaggle(row: Mapping[str, Any]) -> str:
    """Return a script under a header with the title and the data sets that the notebook reads.

    "Converted to scripts and prefixed with information on the Kaggle datasets used in the notebook" (card of
    bigcode/starcoder2data-extras): ``datasets`` holds names, or mappings with ``name`` and ``columns``.
    """
    lines = [f"# {row['title']}"] if row.get("title") else []
    for entry in row.get("datasets") or ():
        if isinstance(entry, Mapping):
            columns = ", ".join(str(name) for name in entry.get("columns") or ())
            lines.append(f"# Data: {entry.get('name')}" + (f" ({columns})" if columns else ""))
        else:
            lines.append(f"# Data: {entry}")
    header = "\n".join(lines)
    return (f"{header}\n\n" if header else "") + script(row)


def _as_script(cells: list[Cell]) -> Iterator[str]:
    for kind, source, _ in cells:
        yield source if kind == "code" else "\n".join(f"# {line}".rstrip() for line in source.splitlines())


def read_cells(row: Mapping[str, Any]) -> list[Cell]:
    """Return the cells that hold something; raise :class:`Unrenderable` where there are none.

    Takes nbformat 4 (``cells``), nbformat 3 (``worksheets``), or either as JSON text in ``content``.
    """
    notebook = _notebook(row)
    cells = notebook.get("cells")
    if cells is None:
        sheets = notebook.get("worksheets") or ()
        cells = [cell for sheet in sheets if isinstance(sheet, Mapping) for cell in sheet.get("cells") or ()]
    found = [cell for cell in map(_cell, cells) if cell is not None]
    if not any(kind == "code" for kind, _, _ in found):
        raise Unrenderable("no_code_cell" if found else "no_cells")
    return found


def _notebook(row: Mapping[str, Any]) -> Mapping[str, Any]:
    content = row.get("content")
    if content is None or row.get("cells") is not None or row.get("worksheets") is not None:
        return row
    try:
        notebook = json.loads(content)
    except (ValueError, TypeError, RecursionError) as error:
        raise Unrenderable("bad_notebook") from error
    if not isinstance(notebook, dict):
        raise Unrenderable("bad_notebook")
    return notebook


def _cell(cell: Any) -> Cell | None:
    if not isinstance(cell, Mapping):
        raise Unrenderable("bad_notebook")
    kind = cell.get("cell_type")
    source = joined(cell.get("source", cell.get("input"))).strip("\n")
    if not source.strip() or kind == "raw":
        return None
    if kind != "code":
        return "markdown", source, ""
    texts = [_output(output) for output in cell.get("outputs") or ()]
    return "code", source, "\n".join(text for text in texts if text)[:_MOST_OUTPUT_CHARACTERS]


def _output(output: Any) -> str:
    """Return an output as a reader of the notebook sees it in text."""
    if not isinstance(output, Mapping):
        return ""
    kind = output.get("output_type")
    if kind == "stream":
        text = joined(output.get("text"))
    elif kind in {"error", "pyerr"}:
        text = f"{output.get('ename')}: {output.get('evalue')}"
    else:
        data = output.get("data")
        text = joined(data.get("text/plain") if isinstance(data, Mapping) else output.get("text"))
    # A carriage return goes back to the start of the line: a progress bar shows its last state.
    lines = [line.rpartition("\r")[2] for line in _COLOURS.sub("", text).replace("\r\n", "\n").split("\n")]
    return "\n".join(lines).strip("\n")


def joined(value: Any) -> str:
    """Return a multi-line string of nbformat, which is a string or a list of lines."""
    if isinstance(value, list | tuple):
        return "".join(str(line) for line in value)
    return value if isinstance(value, str) else ""
