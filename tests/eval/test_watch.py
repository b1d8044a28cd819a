"""A run's checkpoints: scored once each, whatever is killed; half-written ones left alone; as jobs too."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch", reason="torch is missing: run `make setup-train`")

from tests.cluster import why_no_slurm

from smoldata.errors import BusyError, InputError, SmolError
from smoldata.files import single_writer
from smoleval import watch
from smoleval.book import read_book

if TYPE_CHECKING:
    from tests.conftest import SmallHouse

OPTIONS = ("--max-tokens=100",)


@pytest.fixture(scope="module")
def trained(small_house: "SmallHouse", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train three steps, with a checkpoint after each."""
    import smoltrain.cli
    import smoltrain.train

    out = tmp_path_factory.mktemp("watched") / "sample" / "runs" / "trial"
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(smoltrain.train, "KEEP_CHECKPOINTS", 9)
    words = ["train", "--bundle", str(small_house.bundle), "--steps", "3", "--checkpoint-every", "1"]
    smoltrain.cli.app([*words, "--out", str(out)], standalone_mode=False)
    monkeypatch.undo()
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path, small_house: "SmallHouse") -> Path:
    """Copy the run, to change it; its bundle is named by a path of its own."""
    copy = tmp_path / "sample" / "runs" / "trial"
    shutil.copytree(trained, copy)
    facts = json.loads((copy / "run.json").read_text())
    facts["bundle"] = os.path.relpath(small_house.bundle, copy)
    (copy / "run.json").write_text(json.dumps(facts))
    return copy


@pytest.fixture
def watched(run: Path, tmp_path: Path) -> watch.Watched:
    return watch.Watched(run, tmp_path, ("heldout",), heldout_options=OPTIONS)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, ...]]]:
    """Score in this process: what a child would do, without starting one; gives the commands seen."""
    from smoleval.cli import app

    seen: list[tuple[str, ...]] = []

    def call(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        seen.append(tuple(words[3:]))
        app(words[3:], standalone_mode=False)
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(watch.subprocess, "run", call)
    return iter([seen])


def steps_scored(build: Path) -> list[int | None]:
    return sorted({entry.score.step for entry in read_book(build)}, key=lambda step: step or 0)


def test_each_checkpoint_is_scored_once(
    watched: watch.Watched, quick: Iterator[list[tuple[str, ...]]]
) -> None:
    seen = next(quick)
    later = watched.run / "checkpoints" / "step-0000003"
    kept = later.rename(watched.run / "away")
    (watched.run / "checkpoints" / "step-0000009.tmp-77").mkdir()  # half a checkpoint
    assert watch.look(watched, set()) == (2, 0)
    assert steps_scored(watched.build) == [1, 2]
    assert watch.look(watched, set()) == (0, 0)
    kept.rename(later)
    assert watch.look(watched, set()) == (1, 0)
    assert [Path(words[1]).name for words in seen] == [f"step-000000{step}" for step in (1, 2, 3)]
    assert steps_scored(watched.build) == [1, 2, 3]
    assert watch.has_ended(watched.run)


def test_a_kill_between_score_and_mark_repeats_to_the_same_bytes(
    watched: watch.Watched, quick: Iterator[list[tuple[str, ...]]]
) -> None:
    next(quick)
    watch.look(replace(watched, only="step-0000002"), set())
    (path,) = (watched.build / "sample" / "scores").rglob("heldout-*.parquet")
    before = path.read_bytes()
    (mark,) = (watched.build / "sample" / "scores" / ".watched").rglob("done.json")
    mark.unlink()
    assert watch.look(replace(watched, only="step-0000002"), set()) == (1, 0)
    assert path.read_bytes() == before
    assert steps_scored(watched.build) == [2]


def test_killed_at_any_moment_it_goes_on(
    watched: watch.Watched, quick: Iterator[list[tuple[str, ...]]]
) -> None:
    """A real watcher, killed once the first score is marked; a second one does what is left, and no more."""
    words = [sys.executable, "-m", "smoleval", "watch", str(watched.run), "--build", str(watched.build)]
    options = ["--tasks", "heldout", f"--heldout-option={OPTIONS[0]}", "--no-page"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([*words, *options], env=environment, stderr=subprocess.DEVNULL)
    while process.poll() is None and not any(piece.done for piece in watch.pieces(watched)):
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    process.kill()
    process.wait()
    marked = {piece.checkpoint.name for piece in watch.pieces(watched) if piece.done}
    assert marked
    seen = next(quick)
    assert watch.look(watched, set()) == (3 - len(marked), 0)
    assert {Path(words[1]).name for words in seen}.isdisjoint(marked)
    assert steps_scored(watched.build) == [1, 2, 3]
    assert list((watched.run / watch.HELD).iterdir()) == []


def test_the_command_scores_what_is_there_and_writes_the_page(
    watched: watch.Watched, quick: Iterator[list[tuple[str, ...]]]
) -> None:
    from smoleval.cli import app

    next(quick)
    words = ["watch", str(watched.run), "--once", "--build", str(watched.build), "--every", "2"]
    app([*words, f"--heldout-option={OPTIONS[0]}"], standalone_mode=False)
    assert steps_scored(watched.build) == [2]
    page = (watched.build / "scores.html").read_text()
    assert "trial/step-0000002" in page


def test_other_weights_and_other_questions_are_scored_anew(watched: watch.Watched) -> None:
    (one,) = watch.pieces(replace(watched, only="step-0000001"))
    weights = one.checkpoint / "model.safetensors"
    os.utime(weights, ns=(1, 1))
    (touched,) = watch.pieces(replace(watched, only="step-0000001"))
    (asked,) = watch.pieces(replace(watched, only="step-0000001", heldout_options=("--max-tokens=7",)))
    assert len({one.key, touched.key, asked.key}) == 3
    (resolved,) = watch.pieces(
        replace(watched, only="step-0000001", build=watched.build / ".." / watched.build.name)
    )
    assert resolved.key == touched.key


def test_what_the_trainer_removes_is_scored_all_the_same(
    watched: watch.Watched, quick: Iterator[list[tuple[str, ...]]]
) -> None:
    next(quick)
    watch.hold(watched)
    held = watched.run / watch.HELD
    assert sorted(path.name for path in held.iterdir()) == [f"step-000000{step}" for step in (1, 2, 3)]
    assert {path.name for path in (held / "step-0000001").iterdir()} >= {"config.json", "model.safetensors"}
    assert not (held / "step-0000001" / "optimizer.safetensors").exists()
    before = {piece.key for piece in watch.pieces(watched)}
    shutil.rmtree(watched.run / "checkpoints" / "step-0000001")
    assert {piece.key for piece in watch.pieces(watched)} == before
    assert watch.look(watched, set()) == (3, 0)
    assert list(held.iterdir()) == []
    labels = {entry.score.checkpoint for entry in read_book(watched.build)}
    assert labels == {f"trial/step-000000{step}" for step in (1, 2, 3)}
    assert watch.look(watched, set()) == (0, 0)


def test_a_run_begun_anew_replaces_what_is_held(watched: watch.Watched) -> None:
    watch.hold(watched)
    weights = watched.run / "checkpoints" / "step-0000002" / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[::-1])
    watch.hold(watched)
    assert (watched.run / watch.HELD / "step-0000002" / "model.safetensors").read_bytes() == content[::-1]


def test_only_every_so_many_steps(watched: watch.Watched) -> None:
    names = [path.name for path in watch.checkpoints(replace(watched, every=2))]
    assert names == ["step-0000002"]


def test_a_failure_is_not_repeated_and_is_told(
    watched: watch.Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = replace(watched, only="step-0000001", heldout_options=("--no-such-option",))
    failed: set[str] = set()
    assert watch.look(broken, failed) == (0, 0)  # a real child: its usage error
    assert len(failed) == 1
    assert "failed with code 2: smoleval heldout" in " ".join(capsys.readouterr().err.split())
    assert watch.look(broken, failed) == (0, 0)
    assert not watch.follow(broken, 0.1, lambda: None, ended=lambda: True)


def test_two_watchers_do_not_score_the_same(watched: watch.Watched) -> None:
    (one,) = watch.pieces(replace(watched, only="step-0000001"))
    with single_writer(one.place):
        with pytest.raises(BusyError):
            watch.score_here(one)
        assert watch.look(replace(watched, only="step-0000001"), set()) == (0, 1)
    assert not one.done


def test_following_ends_with_the_run(watched: watch.Watched, quick: Iterator[list[tuple[str, ...]]]) -> None:
    seen = next(quick)
    away = watched.run / "away"
    (watched.run / "checkpoints" / "step-0000003").rename(away)
    scored: list[int] = []

    def write() -> None:  # called after the first look: the run goes on while it is watched
        scored.append(len(seen))
        if away.is_dir():
            away.rename(watched.run / "checkpoints" / "step-0000003")

    assert watch.follow(watched, 0.01, write, ended=lambda: watch.has_ended(watched.run))
    assert scored == [2, 3]
    assert steps_scored(watched.build) == [1, 2, 3]


def test_nanotrons_checkpoints_are_converted_when_they_are_whole(
    watched: watch.Watched, trained: Path, tmp_path: Path
) -> None:
    from smoltrain.convert import hf_to_nanotron

    theirs = tmp_path / "sample" / "runs" / "theirs"
    source = trained / "checkpoints" / "step-0000002"
    for step, whole in ((10, True), (20, False)):
        place = theirs / "checkpoints" / "stage2" / str(step)
        hf_to_nanotron(source, place)
        (place / "config.yaml").write_text("general: {}\n")
        (place / "checkpoint_metadata.json").write_text("{}") if whole else None
    found = watch.checkpoints(replace(watched, run=theirs))
    expected = [] if fault(theirs, 10) else [theirs / "hf" / "stage2" / "step-0000010"]
    assert found == expected
    assert all((path / "model.safetensors").is_file() for path in found)
    assert fault(theirs, 20)


def fault(run: Path, step: int) -> str | None:
    from smoltrain.nanotron.checkpoints import fault_of

    return fault_of(run / "checkpoints" / "stage2" / str(step))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run": Path("nowhere")}, "no run nowhere"),
        ({"tasks": ()}, "--tasks names nothing"),
        ({"tasks": ("ruler:nowhere",)}, "nowhere holds no RULER prompts"),
        ({"tasks": ("no_such_task",)}, "no_such_task"),
    ],
)
def test_what_cannot_be_watched_is_refused(
    watched: watch.Watched, change: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        watch.check(replace(watched, **change))  # type: ignore[arg-type]  # one field at a time


def test_commands_for_tasks_and_prompts(watched: watch.Watched, tmp_path: Path) -> None:
    prompts = tmp_path / "4k"
    prompts.mkdir()
    (prompts / "manifest.json").write_text("{}")
    more = replace(
        watched,
        only="step-0000001",
        tasks=("piqa_cf", f"ruler:{prompts}", "heldout", "boolq_cf"),
        options=("--limit=3",),
    )
    watch.check(more)
    place, build = str(watched.run / "checkpoints" / "step-0000001"), ("--build", str(watched.build))
    assert [piece.words for piece in watch.pieces(more)] == [
        ("heldout", place, *build, *OPTIONS),
        ("ruler", "run", place, "--data", str(prompts), *build),
        ("run", place, "--tasks", "piqa_cf,boolq_cf", *build, "--limit=3"),
    ]


SILENT = "the controller does not answer"


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Callable[[], None]]:
    """Stand in for sbatch and squeue: a list of queued names, and a way to end all jobs."""
    queued: list[str] = []

    def call(*words: str, error: type[SmolError] = SmolError) -> str:
        if words[0] == "squeue":
            if SILENT in queued:
                raise error("squeue failed: Unable to contact slurm controller")
            name = next(word for word in words if word.startswith("--name=")).removeprefix("--name=")
            return "1\n" if name in queued else ""
        name = next(line for line in Path(words[-1]).read_text().splitlines() if "--job-name" in line)
        queued.append(name.partition("=")[2])
        return "17;cluster\n"

    monkeypatch.setattr(watch, "_call", call)
    return queued, queued.clear


def test_jobs_are_submitted_once_and_given_up_after_three(
    watched: watch.Watched, queue: tuple[list[str], Callable[[], None]]
) -> None:
    queued, end = queue
    one = replace(watched, only="step-0000001")
    slurm, failed = watch.Slurm(("--gpus=1",)), set[str]()
    assert watch.look(one, failed, slurm) == (0, 1)
    assert watch.look(one, failed, slurm) == (0, 1)
    assert len(queued) == 1
    (piece,) = watch.pieces(one)
    script = (piece.place / "job.sbatch").read_text()
    assert f"--only step-0000001 --heldout-option={OPTIONS[0]}" in script
    for _ in range(2):
        end()
        watch.look(one, failed, slurm)
    end()
    assert len(list(piece.place.glob("submitted-*"))) == 3
    assert watch.look(one, failed, slurm) == (0, 0)
    assert failed == {piece.key}
    # Killed after sbatch, before it was noted: the queue knows the job by its name.
    for path in piece.place.glob("submitted-*"):
        path.unlink()
    queued.append(f"smoleval-{piece.key}")
    assert watch.look(one, set(), slurm) == (0, 1)
    assert list(piece.place.glob("submitted-*")) == []


def test_a_queue_that_does_not_answer_is_asked_again(
    watched: watch.Watched, queue: tuple[list[str], Callable[[], None]], capsys: pytest.CaptureFixture[str]
) -> None:
    """A controller that starts again neither ends the watch nor has a job submitted twice or given up."""
    queued, end = queue
    one, slurm, failed = replace(watched, only="step-0000001"), watch.Slurm(), set[str]()
    queued.append(SILENT)
    assert watch.look(one, failed, slurm) == (0, 1)
    assert "asked again at the next look" in capsys.readouterr().err
    assert queued == [SILENT]
    end()
    assert watch.look(one, failed, slurm) == (0, 1)
    assert len(queued) == 1
    assert not failed


@pytest.mark.system
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(why_no_slurm()), reason=why_no_slurm())
@pytest.mark.usefixtures("slurm_cluster")
def test_checkpoints_are_scored_as_slurm_jobs(
    watched: watch.Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    slurm = watch.Slurm(("--mem=3000", "--cpus-per-task=1"))
    assert watch.follow(watched, 1.0, lambda: None, slurm, lambda: True), "\n".join(
        path.read_text() for path in watched.build.rglob("slurm-*.out")
    )
    assert steps_scored(watched.build) == [1, 2, 3]
    assert len(list(watched.build.rglob("submitted-*"))) == 3
