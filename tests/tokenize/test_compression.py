"""Compression figures are those of the texts and of their ids, counted here by hand."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import smoltok
from smoldata.errors import IntegrityError
from smoldata.files import xxh3_128
from smoltok.build import build_tokens
from smoltok.cli import app
from smoltok.compression import Compression, by_language, by_source, plot
from smoltok.ordering import DocumentOrder

TEXTS = {
    "eng_Latn": ["Hello world", "The quick brown fox"],
    "rus_Cyrl": ["Съешь же ещё этих булок"],
    None: ["x = 1"],
}


@pytest.fixture
def folder(tmp_path: Path, write_documents: Callable[..., Path]) -> Path:
    rows = [(language, text) for language, texts in TEXTS.items() for text in texts]
    source = write_documents(tmp_path / "documents", "s", {"00000.parquet": [text for _, text in rows]})
    path = source / "00000.parquet"
    table = pq.read_table(path)
    column = pa.array([language for language, _ in rows], pa.string())
    pq.write_table(table.set_column(table.schema.get_field_index("language"), "language", column), path)
    manifest = pq.read_table(source / "manifest.parquet").to_pylist()
    manifest[0]["xxh3_128"] = xxh3_128(path)
    pq.write_table(pa.Table.from_pylist(manifest), source / "manifest.parquet")
    return tmp_path


def expected(group: str, texts: list[str]) -> Compression:
    ids = smoltok.encode(texts)
    characters, size = sum(map(len, texts)), sum(len(text.encode()) for text in texts)
    return Compression(group, len(texts), sum(map(len, ids)), characters, size)


@pytest.mark.parametrize("order", [DocumentOrder(), DocumentOrder(seed=1, chunk=3)])
@pytest.mark.parametrize("share", [Fraction(0), Fraction(1, 2)])
def test_figures_are_those_of_the_texts(order: DocumentOrder, share: Fraction, folder: Path) -> None:
    documents, tokens = folder / "documents", folder / "tokens"
    build_tokens("s", documents=documents, tokens=tokens, validation_share=share, order=order)
    everything = [text for texts in TEXTS.values() for text in texts]
    assert by_source(tokens, ["s"]) == [expected("s", everything)]
    wanted = {expected(language or "(none)", texts) for language, texts in TEXTS.items()}
    assert set(by_language(tokens, documents, ["s"])) == wanted


def test_command_prints_tables_and_writes_a_plot(folder: Path) -> None:
    documents, tokens, svg = folder / "documents", folder / "tokens", folder / "plot.svg"
    build_tokens("s", documents=documents, tokens=tokens, validation_share=Fraction(0))
    arguments = ["compression", str(tokens), "--documents", str(documents), "--svg", str(svg)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "rus_Cyrl" in result.stdout
    assert "rus_Cyrl" in svg.read_text()
    report = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert {row["group"] for row in report["language"]} == {"eng_Latn", "rus_Cyrl", "(none)"}


def test_documents_that_changed_since_are_refused(folder: Path) -> None:
    documents, tokens = folder / "documents", folder / "tokens"
    build_tokens("s", documents=documents, tokens=tokens, validation_share=Fraction(0))
    path = documents / "s" / "00000.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match="changed since it was tokenized"):
        by_language(tokens, documents, ["s"])


def test_the_plot_is_the_same_every_time() -> None:
    rows = [Compression("a", 1, 10, 40, 40), Compression("b", 1, 10, 30, 60)]
    assert rows[0].characters_a_token == 4
    assert rows[1].bytes_a_token == 6
    assert plot(rows, "t") == plot(rows, "t")
