"""WARC files: pages as rows; a cut record or file is an error that names it, or one counted drop."""

import gzip
from pathlib import Path

import pytest

pytest.importorskip("warcio", reason="needs the curate group: make setup-curate")

from smoldata.errors import SourceError
from smoldata.reading import Report, read_rows

REAL = Path(__file__).parents[3] / "shared" / "data" / "web"


def record(kind: str, url: str, block: bytes) -> bytes:
    """Return one WARC record."""
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:{kind}:{url}>\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Date: 2024-01-01T00:00:00Z\r\nContent-Type: application/http; msgtype={kind}\r\n"
        f"Content-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def write_warc(path: Path, pages: list[tuple[str, str, bytes]]) -> Path:
    """Write responses (url, type, body), a request before each, as crawlers do: one gzip member a record."""
    pack = gzip.compress if path.name.endswith(".gz") else bytes
    data = b""
    for url, kind, body in pages:
        answer = f"HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode() + body
        data += pack(record("request", url, b"GET / HTTP/1.0\r\n\r\n")) + pack(
            record("response", url, answer)
        )
    path.write_bytes(data)
    return path


PAGES = [
    ("http://a.example/", "text/html; charset=UTF-8", "<p>Grüße</p>".encode()),
    ("http://b.example/", "image/png", b"\x89PNG"),
    ("http://c.example/", "text/html", ("<p>" + "Ça alors, déjà l'été. " * 40 + "</p>").encode("latin-1")),
    ("http://d.example/", "text/html", b"<p>" + bytes(range(128, 160)) * 40 + b"</p>"),
]


@pytest.mark.parametrize("name", ["crawl.warc", "crawl.warc.gz"])
def test_pages_are_rows_and_the_rest_is_counted(tmp_path: Path, name: str) -> None:
    report = Report()
    rows = list(read_rows(str(write_warc(tmp_path / name, PAGES)), ("text",), report))
    assert [number for number, _ in rows][:2] == [1, 5]
    assert rows[0][1]["url"] == "http://a.example/"
    assert rows[0][1]["text"] == "<p>Grüße</p>"
    assert "déjà l'été" in rows[1][1]["text"]
    assert report.dropped["not_html"] == 1
    assert len(rows) + report.read == len(PAGES)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.97])
def test_a_cut_file_names_the_record(tmp_path: Path, keep: float) -> None:
    path = write_warc(tmp_path / "a.warc.gz", PAGES)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(SourceError, match=r"a\.warc\.gz: record \d+.*cut short"):
        list(read_rows(str(path), ("text",), Report()))


def test_a_record_shorter_than_it_says_is_named(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "a.warc", PAGES[:1])
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(SourceError, match=r"record 1 \(http://a\.example/\): cut short: \d+ of \d+ bytes"):
        list(read_rows(str(path), ("text",), Report()))


def test_damage_can_be_a_counted_drop(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "a.warc.gz", PAGES)
    path.write_bytes(path.read_bytes()[:-40])
    report = Report()
    rows = list(read_rows(str(path), ("text",), report, damage="drop"))
    assert [row["url"] for _, row in rows] == ["http://a.example/", "http://c.example/"]
    assert report.dropped["damaged_record"] == 1


def test_a_flipped_bit_is_damage(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "a.warc.gz", PAGES)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))
    with pytest.raises(SourceError, match=r"a\.warc\.gz: record \d+"):
        list(read_rows(str(path), ("text",), Report()))


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_other_files_are_refused(tmp_path: Path, name: str) -> None:
    data = b"this is no crawl\n" * 50
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(SourceError, match=r"record 0: not a WARC record"):
        list(read_rows(str(tmp_path / name), ("text",), Report()))


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the shared development data beside the checkout")
@pytest.mark.parametrize(
    ("name", "pages"),
    [("warcfile", 16), ("whirlwind", 1), ("clueweb-quirk", 29), ("block-sized-records", 0)],
)
def test_real_crawls(name: str, pages: int) -> None:
    report = Report()
    rows = list(read_rows(str(REAL / f"{name}.warc.gz"), ("text",), report))
    assert (len(rows), report.read) == (pages, 0)
    assert all("<" in row["text"] for _, row in rows)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the shared development data beside the checkout")
def test_a_real_clipped_crawl() -> None:
    with pytest.raises(SourceError, match=r"clipped\.warc\.gz: record 0 \(http://www\.houston.*cut short"):
        list(read_rows(str(REAL / "clipped.warc.gz"), ("text",), Report()))
    report = Report()
    assert list(read_rows(str(REAL / "clipped.warc.gz"), ("text",), report, damage="drop")) == []
    assert report.dropped == {"damaged_record": 1}
