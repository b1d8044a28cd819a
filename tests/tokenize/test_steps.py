"""datatrove's executors make the same bytes as ours, with any number of tasks; a lost rank is noticed."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from datatrove.executor import LocalPipelineExecutor

from smoldata.errors import StorageError
from smoltok import LLAMA_3_2
from smoltok.build import build_tokens
from smoltok.currency import Settings
from smoltok.steps import RecordShards, TokenizeFiles, TokenizeJob

SHARE = Fraction(1, 20)
Bytes = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def job(documents: Path, tmp_path: Path) -> TokenizeJob:
    return TokenizeJob(("library",), documents, tmp_path / "tokens", Settings(LLAMA_3_2, SHARE))


def run(job: TokenizeJob, logs: Path, tasks: int, workers: int = 1) -> None:
    first = LocalPipelineExecutor(
        [TokenizeFiles(job)], tasks=tasks, workers=workers, logging_dir=str(logs / "tokenize")
    )
    last = LocalPipelineExecutor(
        [RecordShards(job)], tasks=1, logging_dir=str(logs / "record"), depends=first
    )
    last.run()


@pytest.mark.parametrize(("tasks", "workers"), [(1, 1), (3, 1), (7, 1), (3, 2)])
def test_any_number_of_tasks_gives_the_same_bytes(
    tasks: int, workers: int, job: TokenizeJob, documents: Path, tmp_path: Path, folder_bytes: Bytes
) -> None:
    run(job, tmp_path / "logs", tasks, workers)
    build_tokens("library", documents=documents, tokens=tmp_path / "ours", validation_share=SHARE)
    assert folder_bytes(job.tokens) == folder_bytes(tmp_path / "ours")


def test_a_lost_rank_is_noticed_and_only_its_files_are_made_again(job: TokenizeJob) -> None:
    list(TokenizeFiles(job).run(None, 0, 2))
    with pytest.raises(StorageError, match=r"00001\.parquet has no finished shards: a rank failed"):
        list(RecordShards(job).run())
    times = {path: path.stat().st_mtime_ns for path in job.tokens.rglob("*.ds")}
    for rank in range(2):
        list(TokenizeFiles(job).run(None, rank, 2))
    list(RecordShards(job).run())
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert job.stale() == []


def test_a_current_folder_is_left_alone(job: TokenizeJob, documents: Path, tmp_path: Path) -> None:
    build_tokens("library", documents=documents, tokens=job.tokens, validation_share=SHARE)
    times = {path: path.stat().st_mtime_ns for path in job.tokens.rglob("*.ds")}
    run(job, tmp_path / "logs", 2)
    assert {path: path.stat().st_mtime_ns for path in job.tokens.rglob("*.ds")} == times
