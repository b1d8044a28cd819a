"""Files of other kinds -> rows: a notebook is one row, an XML dump one row a record.

A MediaWiki export gives ``id``, ``title``, ``namespace``, ``redirect`` and ``text`` (wiki markup) of each
page; a Stack Exchange dump (``Posts.xml``) the attributes of each post. XML is parsed as it comes in: the
memory is that of one record.
"""

import json
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

from smoldata.errors import SourceError
from smoldata.reading import Report
from smoldata.streams import open_blocks


def notebook_rows(path: str, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the one row of a notebook: its top-level keys (``cells``, ``metadata``, ``nbformat``)."""
    data = b"".join(open_blocks(path))
    try:
        notebook = json.loads(data)
    except UnicodeDecodeError:
        report.drop("bad_utf8")
        return
    except (ValueError, RecursionError):
        report.drop("bad_json")
        return
    if isinstance(notebook, dict):
        yield 0, notebook
    else:
        report.drop("not_an_object")


def xml_rows(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a MediaWiki export or a Stack Exchange dump.

    Raises :class:`SourceError` naming file and record for XML that is cut or not well-formed, and for entity
    declarations (no dump has any; they can be made to fill the memory).
    """
    parser: Any = ET.XMLPullParser(("start", "end"))
    number, depth = 0, 0
    root: Any = None
    try:
        for block in open_blocks(path):
            if number == 0 and depth == 0 and b"<!ENTITY" in block:
                raise SourceError(f"{path}: declares XML entities, which no dump does; it is not read")
            parser.feed(block)
            for event, element in parser.read_events():
                depth += 1 if event == "start" else -1
                root = element if root is None else root
                if event == "end" and depth == 1:
                    row = _row(element)
                    if row is not None:
                        yield number, row
                        number += 1
                    root.clear()
        parser.close()
    except ET.ParseError as error:
        raise SourceError(f"{path}: record {number}: not well-formed XML, or cut short ({error})") from error


def _row(element: Any) -> dict[str, Any] | None:
    tag = element.tag.rpartition("}")[2]
    if tag == "row":
        return dict(element.attrib)
    if tag != "page":
        return None
    fields = {part.tag.rpartition("}")[2]: part for part in element}
    revision = {part.tag.rpartition("}")[2]: part.text for part in fields.get("revision", ())}
    return {
        "id": fields["id"].text if "id" in fields else None,
        "title": fields["title"].text if "title" in fields else None,
        "namespace": fields["ns"].text if "ns" in fields else None,
        "redirect": "redirect" in fields,
        "text": revision.get("text"),
        "timestamp": revision.get("timestamp"),
    }
