"""The web recipe end to end: crawled records in, documents out, every drop by reason, whatever the tasks."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trafilatura", reason="needs the curate group: make setup-curate")

from tests.data.hub_rows import PROSE, text_in
from tests.data.test_warc import write_warc

from smoldata.build import built_documents
from smoldata.dropped import read_examples
from smoldata.running import run_pipeline

OTHER = (
    "Every spring the farmers of the valley meet to decide who will use the water of the river. The "
    "rules are older than the houses, and nobody has written them down. A family that needs more than "
    "its share must ask the others and explain why. If they agree, a wooden sign is put next to the "
    "gate so that all of them can see it. In dry years the meetings take a whole day, and the children "
    "bring bread and soup to the men and women who argue."
)


def html(*paragraphs: str) -> bytes:
    """Return a page with an article."""
    body = "".join(f"<p>{text}</p>" for text in paragraphs)
    return f"<html><head><title>t</title></head><body><article>{body}</article></body></html>".encode()


def lay(folder: Path) -> None:
    """Write three crawls: good pages, copies, near copies, another language, repetition, a short page."""
    folder.mkdir()
    near = PROSE.replace("nine days", "ten days")
    first = [
        ("https://a.example/1", "text/html", html(PROSE)),
        ("https://a.example/2", "text/html", html("Short.")),
    ]
    second = [
        ("https://b.example/1", "text/html", html(near)),
        ("https://b.example/2", "text/html", html(*["Buy now and save big on all of the shoes. "] * 30)),
        ("https://b.example/3", "image/png", b"\x89PNG"),
    ]
    third = [
        ("https://c.example/1", "text/html", html(OTHER + " Write to ada@lovelace.org about it.")),
        ("https://c.example/2", "text/html", html(text_in("fra_Latn"))),
        ("https://c.example/3", "text/html", html(OTHER + " Write to ada@lovelace.org about it.")),
    ]
    for number, pages in enumerate((first, second, third)):
        write_warc(folder / f"{number}.warc.gz", pages)


@pytest.mark.parametrize("tasks", [1, 3])
def test_pages_become_documents(tasks: int, tmp_path: Path) -> None:
    lay(tmp_path / "crawl")
    built = run_pipeline(
        "web",
        [str(tmp_path / "crawl")],
        tmp_path / "out",
        parameters={"address_lists": False},
        tasks=tasks,
        workers=1,
    )
    rows: list[dict[str, Any]] = list(built_documents(tmp_path / "out"))
    assert {row["url"] for row in rows} == {"https://a.example/1", "https://c.example/1"}
    assert not any("lovelace" in row["text"] for row in rows)
    assert built.read == 8 == built.kept + sum(built.dropped.values())
    assert built.dropped["minhash_dedup"] == 1
    assert built.dropped["duplicate"] == 1
    assert built.dropped["not_html"] == 1
    # The short page, the repetitive one and the French one each break a rule for English prose.
    others = set(built.dropped) - {"minhash_dedup", "duplicate", "not_html"}
    assert sum(built.dropped[reason] for reason in others) == 3
    assert read_examples(tmp_path / "out")
