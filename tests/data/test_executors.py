"""Builds on Ray and Slurm, both real, with a worker killed in the middle: the bytes of a build here."""

import subprocess
import time
from pathlib import Path

import pytest
from tests.cluster import ray_cluster
from tests.data.test_cluster import contents, job_of, lay

from smoldata.build import build_jobs
from smoldata.cluster import runner

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@pytest.fixture
def wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Lay raw files, build them here without the kill, and clear the mark; workers must find the step."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    lay(tmp_path / "raw")
    (tmp_path / "mark").touch()
    build_jobs([job_of(tmp_path / "raw", tmp_path / "here", tmp_path / "mark", 3)], 1)
    (tmp_path / "mark").unlink()
    return contents(tmp_path / "here")


@pytest.mark.usefixtures("slurm_cluster")
def test_slurm_with_a_killed_rank(wanted: dict[str, bytes], tmp_path: Path) -> None:
    options = {
        "time": "00:10:00",
        "partition": "cpu",
        "mem_per_cpu_gb": "1",
        "qos": "null",
        "venv_path": str(ROOT / ".venv" / "bin" / "activate"),
        "randomize_start_duration": "0",
        "tasks_per_job": "1",
    }
    job = job_of(tmp_path / "raw", tmp_path / "out", tmp_path / "mark", 3)
    build_jobs([job], 2, runner("slurm", options, 2))
    _wait_until_idle()
    assert (tmp_path / "mark").exists(), "no rank was killed"
    assert not (tmp_path / "out" / "manifest.parquet").exists()
    build_jobs([job], 2, runner("slurm", options, 2))
    _wait_until_idle()
    assert contents(tmp_path / "out") == wanted


def _wait_until_idle() -> None:
    for _ in range(1200):
        seen = subprocess.run(
            ["squeue", "-h", "-o", "%i %T %r"], capture_output=True, text=True, check=True
        ).stdout
        if not seen.strip():
            return
        time.sleep(0.25)
    pytest.fail(f"the queue did not become empty:\n{seen}")


@pytest.mark.filterwarnings("default")
def test_ray_with_a_killed_worker(wanted: dict[str, bytes], tmp_path: Path) -> None:
    with ray_cluster():
        job = job_of(tmp_path / "raw", tmp_path / "out", tmp_path / "mark", 3)
        build_jobs([job], 2, runner("ray", {"mem_per_cpu_gb": "1"}, 2))
    assert (tmp_path / "mark").exists(), "no worker was killed"
    assert contents(tmp_path / "out") == wanted
