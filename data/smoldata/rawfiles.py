"""Files of other kinds -> rows: a notebook is one row, an XML dump one row a record.

A MediaWiki export gives ``id``, ``title``, ``namespace``, ``redirect`` and ``text`` (wiki markup) of each
page; the ``Posts.xml`` of a Stack Exchange dump one row a question with its ``answers``, in the columns of
HuggingFaceH4/stack-exchange-preferences. XML is parsed as it comes in: the memory is that of one record, and
posts are brought together by DuckDB, which keeps to a gigabyte and spills to the disk.
"""

import json
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
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


_COLUMNS = ("id", "kind", "parent", "accepted", "score", "title", "body")
_QUESTIONS = """
select q.id as qid, any_value(q.title) as title, any_value(q.body) as question,
    list({
        'answer_id': a.id, 'pm_score': a.score, 'selected': coalesce(a.id = q.accepted, false), 'text': a.body
    } order by a.id) filter (where a.id is not null) as answers
from posts q left join posts a on a.parent = q.id and a.kind = 2
where q.kind = 1 group by q.id order by q.id
"""
_BATCH = 5_000


def question_rows(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number, row) of each question of a ``Posts.xml``: ``qid``, ``title``, ``question``, ``answers``.

    Raises :class:`SourceError` as :func:`xml_rows` does, and naming the record for a post without a number.
    """
    import duckdb
    import pyarrow as pa

    kinds = [pa.int64()] * 5 + [pa.string()] * 2
    schema = pa.schema([pa.field(name, kind) for name, kind in zip(_COLUMNS, kinds, strict=True)])
    with (
        tempfile.TemporaryDirectory(prefix="smoldata-posts-") as folder,
        duckdb.connect(
            str(Path(folder) / "posts.duckdb"), config={"memory_limit": "1GB", "threads": 1}
        ) as connection,
    ):
        connection.execute(
            "create table posts (id bigint, kind bigint, parent bigint, accepted bigint, score bigint, "
            "title varchar, body varchar)"
        )
        posts = (_post(path, number, row) for number, row in xml_rows(path))
        while batch := list(islice(posts, _BATCH)):
            columns = dict(zip(_COLUMNS, map(list, zip(*batch, strict=True)), strict=True))
            connection.register("batch", pa.table(columns, schema=schema))
            connection.execute("insert into posts select * from batch")
        found = connection.execute(_QUESTIONS)
        number = 0
        while rows := found.fetchmany(_BATCH):
            for qid, title, question, answers in rows:
                named = {"qid": qid, "title": title, "question": question, "answers": answers or []}
                yield number, named
                number += 1


def _post(path: str, number: int, row: dict[str, Any]) -> tuple[Any, ...]:
    try:
        numbers = [
            None if row.get(name) is None else int(row[name])
            for name in ("Id", "PostTypeId", "ParentId", "AcceptedAnswerId", "Score")
        ]
    except ValueError as error:
        raise SourceError(f"{path}: record {number}: a post's number is no number ({error})") from error
    if numbers[0] is None:
        raise SourceError(f"{path}: record {number}: no post of a Stack Exchange dump: it has no Id")
    return (*numbers, row.get("Title"), row.get("Body"))


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
