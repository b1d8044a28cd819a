"""RULER's definitions: `smoleval run` gives what `smoleval ruler` gives, from prompts made or given."""

import json
import shutil
from pathlib import Path

import pytest
from tests.eval.tiny_model import tiny_model
from typer.testing import CliRunner

from smoldata.errors import InputError
from smoldata.files import sha256
from smoleval.cli import app
from smoleval.definition import TaskDefinition, registry, select
from smoleval.engine import Settings, chosen, run_tasks
from smoleval.ruler.build import Spec, build
from smoleval.ruler.definitions import rows_of, tokenizer_name
from smoleval.ruler.generate import Running, run
from smoleval.ruler.tasks import KINDS, TASKS, parse_length
from smoleval.scores import as_row

SHORT = "ruler_2k"


@pytest.fixture(scope="module")
def checkpoint(tokenizer: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "trial"
    model = tiny_model(positions=2048, layers=1)
    model.resize_token_embeddings(500, mean_resizing=False)
    model.save_pretrained(str(folder))
    shutil.copy(tokenizer, folder / "tokenizer.json")
    return folder


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> TaskDefinition:
    """Add a definition like the shipped ones, of a length that a test can afford."""
    like = registry()["ruler_4k"]
    task = like.model_copy(update={"name": SHORT, "args": like.args | {"length": "2k"}})
    known = {**registry(), SHORT: task}
    for module in ("definition", "engine", "ruler.score"):
        monkeypatch.setattr(f"smoleval.{module}.registry", lambda: known)
    return task


def answerable(folder: Path, tokens: int) -> Path:
    """Let prompts expect letters, which any babble holds or not, in short answers: scores other than 0."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for stated in manifest["tasks"].values():
        path = folder / stated["file"]
        rows = [json.loads(line) | {"outputs": ["e", "t", "9#"]} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        stated |= {"answer_tokens": tokens, "sha256": sha256(path)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_the_published_lengths_and_4k_are_defined() -> None:
    tasks = select(["ruler"])
    assert [task.name for task in tasks] == ["ruler_4k", "ruler_32k", "ruler_64k", "ruler_128k"]
    assert [parse_length(str(task.args["length"])) for task in tasks] == [4096, 32_768, 65_536, 131_072]
    assert len({task.task_version for task in tasks}) == len(tasks)
    for task in tasks:
        assert task.subset_names == tuple(TASKS)
        assert task.generation is not None
        assert task.generation.temperature == 0
        assert task.generation.max_new_tokens == max(kind.answer_tokens for kind in KINDS.values())
        assert task.findings() == []


def test_rows_are_generated_whatever_rows_others_have() -> None:
    for profile in ("hub", "offline", "generated"):
        (item,) = chosen(["ruler_32k"], Settings(profile=profile))
        assert item.profile == "generated"
    with pytest.raises(InputError, match="ruler_32k: no rows in the profile fixture"):
        chosen(["ruler_32k"], Settings(profile="fixture"))


def test_made_prompts_are_scored_as_ruler_run_scores_them(
    short: TaskDefinition, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(device="cpu", limit=1)
    scores = run_tasks(checkpoint, [SHORT], tmp_path / "build", settings)
    said = " ".join(capsys.readouterr().err.split())
    assert "ruler_2k: left out: qa_1: no file of questions: --qa-1" in said
    assert "ruler_2k: left out: niah_single_2: no running text" in said
    kept = [task for task in TASKS.values() if task.haystack != "essay" and task.kind != "qa"]
    assert [one.subset for one in scores] == [*(task.name for task in kept), "(6 of 13)"]
    assert {(one.task, one.suite, one.data_profile, one.task_version) for one in scores} == {
        (SHORT, "ruler", "generated", short.task_version)
    }
    build(Spec(2048, 1, tokenizer=str(checkpoint)), kept, tmp_path / "own")
    # Whether tasks are missing because nobody asked or because of their material is the same to a score.
    own, _ = run(checkpoint, tmp_path / "own" / "2k", Running(tokenizer=str(checkpoint)))
    assert scores == own
    files = {path: path.read_bytes() for path in (tmp_path / "build").rglob("*.parquet")}
    assert run_tasks(checkpoint, [SHORT], tmp_path / "build", settings) == scores
    assert {path: path.read_bytes() for path in (tmp_path / "build").rglob("*.parquet")} == files


@pytest.mark.usefixtures("short")
def test_given_prompts_of_all_thirteen_tasks(
    checkpoint: Path, prose: Path, question_files: tuple[str, str], tmp_path: Path
) -> None:
    squad, hotpot = question_files
    sets = (("squad", squad), ("hotpotqa", hotpot))
    spec = Spec(2048, 2, tokenizer=str(checkpoint), filler=str(prose), questions=sets)
    build(spec, list(TASKS.values()), tmp_path / "given")
    folder = answerable(tmp_path / "given" / "2k", 12)
    shutil.copytree(folder, tmp_path / "own")
    own, _ = run(checkpoint, tmp_path / "own", Running(tokenizer=str(checkpoint)))
    words = ["run", str(checkpoint), "--tasks", SHORT, "--build", str(tmp_path / "build"), "--device", "cpu"]
    words += ["--prompts", str(tmp_path / "given")]
    seen = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert json.loads(seen.stdout) == [as_row(score) for score in own]
    assert own[-1].subset == ""
    assert own[-1].value == pytest.approx(sum(score.value for score in own[:-1]) / 13)
    assert len({score.value for score in own}) > 1
    rows = rows_of(folder)
    assert {name: rows[name][0]["match"] for name in ("cwe", "qa_1")} == {"cwe": "all", "qa_1": "part"}
    with pytest.raises(InputError, match="has 2 prompts a task, --limit is 1"):
        CliRunner().invoke(app, [*words, "--limit", "1"], catch_exceptions=False)
    with pytest.raises(InputError, match="holds no RULER prompts"):
        CliRunner().invoke(app, [*words[:-1], str(tmp_path)], catch_exceptions=False)


def test_a_shipped_tokenizer_keeps_its_name(tmp_path: Path) -> None:
    """Prompts for a run of our trainer are those that `smoleval ruler build` makes by itself."""
    assert tokenizer_name(tmp_path / "eval" / "tokenizers" / "llama-3.2", tmp_path) == "llama-3.2"
    assert tokenizer_name(tmp_path / "llama-3.2", tmp_path) == str(tmp_path / "llama-3.2")
