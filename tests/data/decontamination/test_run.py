"""A build folder against an evaluation set: listing and report, the same bytes however it was stopped."""

import json
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.data.helpers import own_source, write_registry

from smoldata.build import build_documents
from smoldata.cli import main
from smoldata.decontamination import run as running
from smoldata.decontamination.benchmarks import Item
from smoldata.decontamination.index import Rules
from smoldata.decontamination.report import LISTING, REPORT
from smoldata.decontamination.run import decontaminate
from smoldata.errors import SourceError
from smoldata.registry import load_registry
from smolmix.contamination import read_report


@pytest.fixture
def benchmark(tmp_path: Path, items: list[Item]) -> Path:
    """Return a folder with one evaluation set."""
    folder = tmp_path / "sets"
    folder.mkdir()
    long = [item for item in items if len(item.question.split()) >= 14][:40]
    rows = [{"id": item.id, "question": item.question, "answers": list(item.answers)} for item in long]
    (folder / "email.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def house(tmp_path: Path, documents: list[str], benchmark: Path) -> tuple[Path, list[str]]:
    """Return a build folder of two sources, and the identifiers of the documents that hold an item."""
    rows = [json.loads(line) for line in (benchmark / "email.jsonl").read_text().splitlines()]
    planted = []
    for name, texts in (("dirty", documents[:8]), ("clean", documents[8:])):
        folder = tmp_path / "raw" / name
        folder.mkdir(parents=True)
        lines = []
        for number, text in enumerate(texts):
            bad = name == "dirty" and number in {2, 5}
            plant = rows[number]["question"].upper() if bad else ""
            planted += [f"{name}/{number}"] * bad
            lines.append(
                json.dumps({"id": f"{name}/{number}", "text": f"{text[:900]}\n{plant}\n{text[900:]}"}) + "\n"
            )
        (folder / "a.jsonl").write_text("".join(lines[::2]))
        (folder / "b.jsonl").write_text("".join(lines[1::2]))
    columns = {"text": ["text"], "id": "id"}
    sources = {name: own_source(tmp_path / "raw" / name, columns=columns) for name in ("dirty", "clean")}
    registry = load_registry(write_registry(tmp_path / "registry.yaml", sources))
    build_documents(["dirty", "clean"], registry=registry, build=tmp_path / "build", tasks=2, workers=1)
    return tmp_path / "build" / "sample", planted


def test_every_contaminated_document_is_listed_and_none_is_changed(
    house: tuple[Path, list[str]], benchmark: Path
) -> None:
    profile, planted = house
    before = {path: path.read_bytes() for path in sorted((profile / "documents").rglob("*.parquet"))}
    found = decontaminate(profile, [benchmark], workers=1)
    assert {path: path.read_bytes() for path in sorted((profile / "documents").rglob("*.parquet"))} == before
    rows = pq.read_table(profile / LISTING).to_pylist()
    assert sorted(row["id"] for row in rows) == planted
    for row in rows:
        text = pq.read_table(profile / "documents" / row["source"] / row["path"])["text"][row["row"]].as_py()
        assert text[row["begin"] : row["end"]] == row["span"]
        assert row["share"] == 1.0
    assert found.contaminated == len(planted)
    assert [(line.benchmark, line.source, line.documents) for line in found.lines] == [("email", "dirty", 2)]


def test_smolmix_reads_the_report(house: tuple[Path, list[str]], benchmark: Path) -> None:
    profile, planted = house
    found = decontaminate(profile, [benchmark], workers=1)
    matches = read_report(found.report)
    assert sorted(match.document for match in matches) == planted
    assert sum(match.matched_tokens for match in matches) == found.lines[0].matched_tokens > 0


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(
    house: tuple[Path, list[str]], benchmark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, _ = house
    decontaminate(profile, [benchmark], workers=1)
    wanted = [(profile / name).read_bytes() for name in (LISTING, REPORT)]
    shutil.rmtree(profile / running.WORK)
    for name in (LISTING, REPORT):
        (profile / name).unlink()
    search, calls = running.search_file, []

    def stopped(*arguments: object) -> str:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return search(*arguments)  # type: ignore[arg-type] # whatever it was given

    monkeypatch.setattr(running, "search_file", stopped)
    with pytest.raises(KeyboardInterrupt):
        decontaminate(profile, [benchmark], workers=1)
    assert not (profile / REPORT).exists()
    decontaminate(profile, [benchmark], workers=1)
    assert len(calls) == 3 + 2, "four files: two were done"
    assert [(profile / name).read_bytes() for name in (LISTING, REPORT)] == wanted
    decontaminate(profile, [benchmark], workers=1)
    assert len(calls) == 3 + 2


def test_another_set_or_rule_makes_results_stale(house: tuple[Path, list[str]], benchmark: Path) -> None:
    profile, planted = house
    decontaminate(profile, [benchmark], workers=1)
    old = set((profile / running.WORK).glob("*.parquet"))
    lines = (benchmark / "email.jsonl").read_text().splitlines(keepends=True)
    (benchmark / "email.jsonl").write_text("".join(lines[3:]))
    found = decontaminate(profile, [benchmark], rules=Rules(least_share=0.5), workers=1)
    assert found.contaminated == len(planted) - 1
    assert old.isdisjoint((profile / running.WORK).glob("*.parquet"))


def test_a_tokenizer_counts_the_matched_tokens(
    house: tuple[Path, list[str]], benchmark: Path, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))  # noqa: S106 - no secret
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    profile, _ = house
    decontaminate(profile, [benchmark], tokenizer=tmp_path / "tokenizer.json", workers=1)
    for row in pq.read_table(profile / LISTING).to_pylist():
        assert row["matched_tokens"] == len(row["span"])


def test_the_command(
    house: tuple[Path, list[str]],
    benchmark: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile, planted = house
    command = ["smoldata", "decontaminate", "--build", str(profile.parent), "--benchmarks", str(benchmark)]
    for extra, wanted in (["--json"], '"contaminated": 2'), (["--source", "dirty"], "2 of 8 documents"):
        monkeypatch.setattr(sys, "argv", [*command, "--workers", "1", *extra])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        assert wanted in capsys.readouterr().out
    assert len(planted) == 2


def test_absent_documents_are_an_error(tmp_path: Path, benchmark: Path) -> None:
    with pytest.raises(SourceError, match="no documents of any source"):
        decontaminate(tmp_path / "build" / "sample", [benchmark])
