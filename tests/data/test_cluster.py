"""Builds elsewhere: datatrove's executors make the bytes of a build here; a lost rank is noticed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from datatrove.executor import LocalPipelineExecutor
from tests.data.helpers import real_texts

from smoldata.build import Job, build_jobs, make_job
from smoldata.cluster import BuildTasks, PublishSources, runner
from smoldata.errors import InputError, SmolError, StorageError
from smoldata.pipeline_types import Limit
from smoldata.recipe import read_pipeline
from smoldata.running import input_files, source_of
from smoldata.writing import write_rows

KILLING = """
format_version: 1
name: killing
description: A pipeline whose worker dies once.
source: tests
steps:
  - step: length
    settings: {{least_characters: 10}}
  - step: tests.data.killing:kill_once
    settings: {{mark: {mark}, at: "{at}"}}
"""


def lay(folder: Path, files: int = 6) -> None:
    """Write raw files with copies across them."""
    texts = real_texts(18)
    planted = [*texts, texts[0], texts[5], texts[11]]
    for number in range(files):
        rows: list[dict[str, Any]] = [
            {"id": f"{number}-{at}", "text": text} for at, text in enumerate(planted) if at % files == number
        ]
        write_rows(folder / f"{number}.jsonl.zst", rows, "jsonl.zst")


def job_of(raw: Path, out: Path, mark: Path, tasks: int = 6) -> Job:
    """Return a job whose worker is killed in the middle of a task, unless the mark stands."""
    text = KILLING.format(mark=mark, at="2-8")
    recipe = read_pipeline(text, raw / "killing.yaml", {}, None)
    source = source_of(recipe, "mine", "Python", {})
    return make_job(source, recipe, tuple(input_files([str(raw)])), out, out / ".work", tasks, Limit())


def contents(folder: Path) -> dict[str, bytes]:
    """Return every published file."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".work" not in path.parts
    }


def execute(jobs: Sequence[Job], logs: Path, world: int) -> None:
    """Run a build through datatrove's own local executor, in this process."""
    first = LocalPipelineExecutor(
        [BuildTasks(jobs)], tasks=world, workers=1, logging_dir=str(logs / "tasks"), skip_completed=False
    )
    last = LocalPipelineExecutor(
        [PublishSources(jobs)],
        tasks=1,
        logging_dir=str(logs / "publish"),
        depends=first,
        skip_completed=False,
    )
    last.run()


@pytest.mark.parametrize("world", [1, 3, 8])
def test_any_number_of_ranks_gives_the_same_bytes(world: int, tmp_path: Path) -> None:
    lay(tmp_path / "raw")
    mark = tmp_path / "mark"
    mark.touch()
    build_jobs([job_of(tmp_path / "raw", tmp_path / "here", mark)], 1)
    execute([job_of(tmp_path / "raw", tmp_path / "there", mark)], tmp_path / "logs", world)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_a_rank_that_did_not_run_is_noticed_and_only_its_tasks_are_made_again(tmp_path: Path) -> None:
    lay(tmp_path / "raw")
    mark = tmp_path / "mark"
    mark.touch()
    job = job_of(tmp_path / "raw", tmp_path / "out", mark)
    list(BuildTasks([job]).run(None, 0, 2))
    with pytest.raises(
        StorageError, match=r"mine: 3 of 6 tasks are not done \(the first is 1\): a rank failed"
    ):
        list(PublishSources([job]).run())
    times = {path: path.stat().st_mtime_ns for path in job.staging.glob("*.parquet")}
    assert len(times) > 0
    for rank in range(2):
        list(BuildTasks([job]).run(None, rank, 2))
    assert {path: path.stat().st_mtime_ns for path in times} == times
    list(PublishSources([job]).run())
    build_jobs([job_of(tmp_path / "raw", tmp_path / "here", mark)], 1)
    assert contents(tmp_path / "out") == contents(tmp_path / "here")


def test_a_killed_worker_is_an_error_and_the_next_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    lay(tmp_path / "raw")
    job = job_of(tmp_path / "raw", tmp_path / "out", tmp_path / "mark")
    with pytest.raises(SmolError, match="a worker process was killed"):
        build_jobs([job], 2)
    assert (tmp_path / "mark").exists()
    assert not (tmp_path / "out" / "manifest.parquet").exists()
    build_jobs([job], 1)
    untouched = job_of(tmp_path / "raw", tmp_path / "here", tmp_path / "mark")
    build_jobs([untouched], 1)
    assert contents(tmp_path / "out") == contents(tmp_path / "here")


def test_options_of_executors_are_checked() -> None:
    with pytest.raises(InputError, match=r"no option 'partitoin'; did you mean partition\?"):
        runner("slurm", {"partitoin": "cpu"}, 2)
    assert runner("slurm", {"partition": "cpu", "time": "01:00:00"}, 2) is not None
