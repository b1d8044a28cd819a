"""The tokenize step under Slurm and Ray, both real: the same bytes as in one process."""

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from tests.cluster import ray_cluster

from smoltok import LLAMA_3_2
from smoltok.build import build_tokens
from smoltok.currency import Settings
from smoltok.steps import RecordShards, TokenizeFiles, TokenizeJob

SHARE = Fraction(1, 20)
ROOT = Path(__file__).parents[2]
Bytes = Callable[[Path], dict[str, bytes]]

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@pytest.fixture
def job(documents: Path, tmp_path: Path) -> TokenizeJob:
    return TokenizeJob(("library",), documents, tmp_path / "tokens", Settings(LLAMA_3_2, SHARE))


@pytest.fixture
def wanted(documents: Path, tmp_path: Path, folder_bytes: Bytes) -> dict[str, bytes]:
    build_tokens("library", documents=documents, tokens=tmp_path / "ours", validation_share=SHARE)
    return folder_bytes(tmp_path / "ours")


@pytest.mark.usefixtures("slurm_cluster")
def test_slurm_gives_the_same_bytes(
    job: TokenizeJob, wanted: dict[str, bytes], tmp_path: Path, folder_bytes: Bytes
) -> None:
    from datatrove.executor import SlurmPipelineExecutor

    settings = {
        "time": "00:10:00",
        "partition": "cpu",
        "mem_per_cpu_gb": 1,
        "qos": None,
        "venv_path": str(ROOT / ".venv" / "bin" / "activate"),
        "randomize_start_duration": 0,
    }
    tokenize = SlurmPipelineExecutor(
        [TokenizeFiles(job)],
        tasks=3,
        workers=2,
        job_name="tokenize",
        logging_dir=str(tmp_path / "logs" / "tokenize"),
        **settings,
    )
    record = SlurmPipelineExecutor(
        [RecordShards(job)],
        tasks=1,
        job_name="record",
        logging_dir=str(tmp_path / "logs" / "record"),
        depends=tokenize,
        **settings,
    )
    record.run()
    _wait_for(tmp_path / "logs" / "record" / "completions" / "00000", tmp_path / "logs")
    assert folder_bytes(job.tokens) == wanted


def _wait_for(path: Path, logs: Path) -> None:
    for _ in range(1200):
        if path.exists():
            return
        time.sleep(0.25)
    text = "\n".join(found.read_text() for found in sorted(logs.rglob("*.out")))
    pytest.fail(f"{path.name} did not appear; the jobs said:\n{text}")


@pytest.mark.filterwarnings("default")
def test_ray_gives_the_same_bytes(
    job: TokenizeJob, wanted: dict[str, bytes], tmp_path: Path, folder_bytes: Bytes
) -> None:
    with ray_cluster():
        from datatrove.executor.ray import RayPipelineExecutor

        tokenize = RayPipelineExecutor(
            [TokenizeFiles(job)], tasks=3, workers=2, logging_dir=str(tmp_path / "logs" / "tokenize")
        )
        record = RayPipelineExecutor(
            [RecordShards(job)], tasks=1, logging_dir=str(tmp_path / "logs" / "record"), depends=tokenize
        )
        record.run()
    assert folder_bytes(job.tokens) == wanted
