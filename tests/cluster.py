"""A real Slurm and a real Ray on this machine for the tests that need one, stopped afterwards.

Slurm has one node and is started by root.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CONFIGURATION = """\
ClusterName=local
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ReturnToService=2
SchedulerType=sched/backfill
MinJobAge=3600
NodeName={host} CPUs={cpus} RealMemory=8000 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_no_slurm() -> str:
    """Return what is missing for a Slurm of our own; empty if nothing is."""
    programs = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
    if programs:
        return f"needs {', '.join(programs)} (Debian packages slurm-wlm and munge: make test-system as root)"
    return "" if os.geteuid() == 0 else "needs root to start Slurm's daemons"


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Start munge and Slurm with all state under ``folder``; yield the environment for its commands."""
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(host=host, folder=folder, cpus=os.cpu_count()))
    environment = os.environ | {"SLURM_CONF": str(configuration)}
    started = _munge()
    daemons = [subprocess.Popen([name, "-D"], env=environment) for name in ("slurmctld", "slurmd")]
    try:
        _wait_for_node(environment)
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(timeout=30)
        if started is not None:
            started.terminate()
            started.wait(timeout=30)


@contextmanager
def ray_cluster() -> Iterator[None]:
    """Start Ray with two cores; skip the test where it is not installed.

    Ray waits 30 seconds for its node, which a busy machine may need several times.
    """
    ray = pytest.importorskip("ray", reason="needs ray: make test-system")
    for tries_left in reversed(range(6)):
        try:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
            break
        except Exception as error:  # Ray raises no class of its own
            ray.shutdown()
            if "timed out during startup" not in str(error) or not tries_left:
                raise
    try:
        yield
    finally:
        ray.shutdown()


def _munge() -> subprocess.Popen[bytes] | None:
    """Start munge unless it runs already (its socket answers)."""
    if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0:
        return None
    run = Path("/run/munge")
    run.mkdir(exist_ok=True)
    shutil.chown(run, "munge", "munge")
    process = subprocess.Popen(
        ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged", "-F"]
    )
    for _ in range(100):
        if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0:
            return process
        time.sleep(0.1)
    process.terminate()
    raise RuntimeError("munged does not answer")


def _wait_for_node(environment: dict[str, str]) -> None:
    for _ in range(300):
        seen = subprocess.run(
            ["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True, check=False
        )
        if seen.stdout.strip() == "idle":
            return
        time.sleep(0.1)
    raise RuntimeError(f"the Slurm node did not become idle: {seen.stdout}{seen.stderr}")
