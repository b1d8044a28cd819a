"""Strict reading: damage raises with file and row, bad rows are counted, nothing is lost silently."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from tests.data.helpers import real_texts

import smoldata
from smoldata.errors import InputError, SourceError
from smoldata.reading import DocumentReader

FORMATS = ["jsonl", "jsonl.gz", "jsonl.zst", "parquet"]


def encode(name: str, lines: bytes) -> bytes:
    """Return lines as a file called ``name`` holds them."""
    if name.endswith(".gz"):
        return gzip.compress(lines)
    return zstandard.ZstdCompressor().compress(lines) if name.endswith(".zst") else lines


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    """Write rows in the format that the file's name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        path.write_bytes(encode(path.name, lines))
    return path


def read(*paths: Path, text_column: str = "text") -> tuple[list[smoldata.Document], DocumentReader]:
    """Read everything."""
    reader = smoldata.read_documents(paths, text_column=text_column)
    return list(reader), reader


@pytest.mark.parametrize("suffix", FORMATS)
def test_all_documents_in_order(tmp_path: Path, suffix: str) -> None:
    texts = real_texts(20)
    path = write(tmp_path / f"a.{suffix}", [{"id": f"d{at}", "text": text} for at, text in enumerate(texts)])
    documents, reader = read(path)
    assert [document.text for document in documents] == texts
    assert [document.id for document in documents] == [f"d{at}" for at in range(20)]
    assert (reader.report.read, reader.report.kept, reader.report.dropped) == (20, 20, {})


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.98])
def test_a_cut_file_is_an_error(tmp_path: Path, suffix: str, part: float) -> None:
    rows: list[dict[str, object]] = [{"text": text} for text in real_texts(30)]
    path = write(tmp_path / f"cut.{suffix}", rows)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(SourceError, match=r"cut\."):
        read(path)


@pytest.mark.parametrize("suffix", ["jsonl.gz", "jsonl.zst"])
def test_damage_says_how_many_rows_were_whole(tmp_path: Path, suffix: str) -> None:
    lines = [
        json.dumps({"text": f"{at} {text}"}).encode() + b"\n" for at, text in enumerate(real_texts(40) * 3)
    ]
    half = len(lines) // 2
    # Two members, the second of them cut: the rows of the first are whole.
    parts = [encode(f"a.{suffix}", b"".join(part)) for part in (lines[:half], lines[half:])]
    (tmp_path / f"a.{suffix}").write_bytes(parts[0] + parts[1][: len(parts[1]) // 2])
    reader = smoldata.read_documents(tmp_path / f"a.{suffix}")
    with pytest.raises(SourceError, match=r"cut short.*\(row [0-9]+ or after\)") as caught:
        list(reader)
    assert str(caught.value).endswith(f"(row {reader.report.read} or after)")
    assert reader.report.read >= half


@pytest.mark.parametrize("suffix", ["jsonl.gz", "jsonl.zst", "parquet"])
def test_flipped_bytes_are_an_error(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"flip.{suffix}", [{"text": text} for text in real_texts(30)])
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 3, len(data) // 3 + 64):
        data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"flip\."):
        read(path)


def test_several_compressed_members_are_one_file(tmp_path: Path) -> None:
    first, second = b'{"text": "one"}\n', b'{"text": "two"}\n'
    compress = zstandard.ZstdCompressor().compress
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(first) + gzip.compress(second))
    (tmp_path / "b.jsonl.zst").write_bytes(compress(first) + compress(second))
    for name in ("a.jsonl.gz", "b.jsonl.zst"):
        assert [document.text for document in read(tmp_path / name)[0]] == ["one", "two"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_empty_file_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"none.{suffix}"
    path.write_bytes(b"")
    with pytest.raises(SourceError, match=r"none\."):
        read(path)
    if suffix != "parquet":
        path.write_bytes(encode(path.name, b""))
        with pytest.raises(SourceError, match=r"the file is empty"):
            read(path)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_bad_rows_are_counted_by_reason(tmp_path: Path, suffix: str) -> None:
    good = [json.dumps({"text": text}).encode() for text in real_texts(12)]
    bad = [
        b'{"text": nonsense}',
        b'{"text": "\xff\xfe"}',
        b'{"text": null}',
        b'{"text": ""}',
        b'{"text": " \\n "}',
        b'{"text": 7}',
        b'{"text": "\\ud800"}',
        b"[1, 2]",
        b'{"other": "x"}',
    ]
    path = tmp_path / f"mixed.{suffix}"
    path.write_bytes(encode(path.name, b"\n".join([*good[:6], *bad, *good[6:]]) + b"\n"))
    documents, reader = read(path)
    assert [document.text for document in documents] == real_texts(12)
    assert reader.report.dropped == {
        "bad_json": 1,
        "bad_utf8": 1,
        "null_text": 1,
        "empty_text": 2,
        "not_text": 1,
        "bad_unicode": 1,
        "not_an_object": 1,
        "missing_column": 1,
    }
    assert reader.report.read == 21
    assert documents[6].row == 15


def test_null_and_bad_utf8_in_parquet_are_counted(tmp_path: Path) -> None:
    texts = real_texts(5)
    raw = [texts[0].encode(), None, b"\xff\xfe broken", texts[1].encode(), b""]
    binary = pa.array(raw, pa.binary())
    broken = pa.Array.from_buffers(pa.string(), len(raw), binary.buffers())
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    documents, reader = read(tmp_path / "a.parquet")
    assert [document.text for document in documents] == texts[:2]
    assert reader.report.dropped == {"null_text": 1, "not_text": 1, "empty_text": 1}


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_wrong_column_lists_what_there_is(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", [{"content": "x", "url": "y"}])
    with pytest.raises(SourceError, match=r"no column text; available: content, url"):
        read(path)


def test_another_text_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"content": "x", "text": "y"}])
    documents, _ = read(path, text_column="content")
    assert (documents[0].text, documents[0].columns) == ("x", {"text": "y"})


def test_a_last_row_without_line_end_counts_if_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "one"}\n{"text": "two"}')
    assert len(read(tmp_path / "a.jsonl")[0]) == 2
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "one"}\n{"text": "tw')
    with pytest.raises(SourceError, match=r"row 1: the file ends inside a row"):
        read(tmp_path / "a.jsonl")


@pytest.mark.parametrize("suffix", FORMATS)
def test_too_many_bad_rows_are_refused(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", [{"text": number} for number in range(300)])
    with pytest.raises(SourceError, match=r"300 of 300 rows are malformed"):
        read(path)


def test_no_document_is_an_error_with_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"text": ""}, {"text": None}])
    with pytest.raises(
        SourceError, match=r"no document in .*2 rows read, dropped: 1 empty_text, 1 null_text"
    ):
        read(path)


@pytest.mark.parametrize("name", ["missing.jsonl", "missing.parquet"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=rf"{name}: no such file"):
        read(tmp_path / name)


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nx\n", encoding="utf-8")
    with pytest.raises(SourceError, match=r"known: \.parquet, \.jsonl"):
        read(tmp_path / "a.csv")


def test_no_paths() -> None:
    with pytest.raises(SourceError, match="no files to read"):
        smoldata.read_documents([])


def test_a_remote_address_is_read_like_a_file(tmp_path: Path) -> None:
    import fsspec

    path = write(tmp_path / "a.jsonl.zst", [{"text": "far"}])
    with fsspec.open("memory://reading/a.jsonl.zst", "wb") as file:
        file.write(path.read_bytes())
    reader = smoldata.read_documents("memory://reading/a.jsonl.zst")
    assert [document.text for document in reader] == ["far"]


def test_an_id_that_occurs_again_is_an_error_naming_both_places(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": at, "text": f"text {at}"} for at in (7, 8, 9)]
    first, second = write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.parquet", rows[2:])
    with pytest.raises(
        SourceError, match=r"b.parquet: row 0: the id '9' was given before, at .*a.jsonl: row 2"
    ):
        read(first, second)
    reader = smoldata.read_documents([first, second], duplicate_ids="drop")
    assert [document.id for document in reader] == ["7", "8", "9"]
    assert (reader.report.read, reader.report.dropped) == (4, {"duplicate_id": 1})
    assert len(list(smoldata.read_documents([first, second], duplicate_ids="keep"))) == 4
    with pytest.raises(InputError, match="valid: error, drop, keep"):
        smoldata.read_documents([first], duplicate_ids="rename")  # type: ignore[arg-type] # refused


def test_rows_without_id_are_named_by_their_place(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "a.jsonl", [{"text": "x"}, {"text": "y", "id": ""}])
    one, two = tmp_path / "one" / "a.jsonl", tmp_path / "two" / "a.jsonl"
    assert [document.id for document in smoldata.read_documents(one)] == ["a.jsonl:0", "a.jsonl:1"]
    assert len({document.id for document in smoldata.read_documents([one, two])}) == 4


@given(st.lists(st.sampled_from(["a", "b", "c", 1, 2, None]), min_size=1, max_size=12))
def test_a_repeated_id_is_an_error_or_a_counted_drop(
    tmp_path_factory: pytest.TempPathFactory, ids: list[object]
) -> None:
    path = write(
        tmp_path_factory.mktemp("ids") / "a.jsonl", [{"id": name, "text": str(name)} for name in ids]
    )
    reader = smoldata.read_documents(path, duplicate_ids="drop")
    found = [document.row for document in reader]
    assert found == [at for at, name in enumerate(ids) if name is None or name not in ids[:at]]
    assert reader.report.read == len(ids) == reader.report.kept + reader.report.dropped["duplicate_id"]
    strict = smoldata.read_documents(path)
    if len(found) == len(ids):
        assert len(list(strict)) == len(ids)
    else:
        with pytest.raises(SourceError, match="was given before"):
            list(strict)


cells = st.one_of(st.text(max_size=20), st.none(), st.integers(), st.just("\ud800"), st.just("  "))


@given(st.lists(cells, min_size=1, max_size=60))
def test_read_is_kept_plus_dropped(tmp_path_factory: pytest.TempPathFactory, values: list[object]) -> None:
    path = write(tmp_path_factory.mktemp("law") / "a.jsonl", [{"text": value} for value in values])
    reader = smoldata.read_documents(path)
    try:
        kept = [document.text for document in reader]
    except SourceError:
        kept = []
    expected = [value for value in values if isinstance(value, str) and value.strip() and value != "\ud800"]
    assert kept == expected
    assert reader.report.read == len(values) == reader.report.kept + sum(reader.report.dropped.values())
    assert reader.report.kept == len(expected)
