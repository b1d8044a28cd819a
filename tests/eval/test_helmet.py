"""The prepared HELMET run: driven with stand-ins for git, Python and HELMET's own programs."""

import os
import subprocess
from pathlib import Path

import pytest

JOB = Path(__file__).parents[2] / "eval" / "helmet" / "helmet.sbatch"
COMMIT = "4526dfbdc512bd9ff721da336bff4e3e75ecfd27"
_PROGRAM = """\
#!/bin/bash
echo "$(basename "$0") $*" >> "$LOG"
if [ "$*" = "rev-parse HEAD" ]; then echo other; fi
if [ -n "${FAIL:-}" ] && [[ "$*" == *"$FAIL"* ]]; then exit 1; fi
"""


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the job in a checkout that is there, with programs that only write down how they are called."""
    checkout = folder / "helmet"
    for place in (folder / "bin", checkout / ".git", checkout / "env" / "bin", folder / "model"):
        place.mkdir(parents=True, exist_ok=True)
    for program in (
        folder / "bin/git",
        folder / "bin/python3",
        checkout / "env/bin/pip",
        checkout / "env/bin/python",
    ):
        program.write_text(_PROGRAM)
        program.chmod(0o755)
    (checkout / "scripts").mkdir(exist_ok=True)
    (checkout / "scripts" / "download_data.sh").write_text("mkdir -p data; echo data >> $LOG\n")
    settings = {"CHECKPOINT": str(folder / "model"), "HELMET": str(checkout), "LOG": str(folder / "log")}
    path = {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", JOB], capture_output=True, text=True, check=False, env=path | settings | environment
    )


def calls(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


def test_all_families_are_run_at_the_pinned_commit(tmp_path: Path) -> None:
    assert run(tmp_path).returncode == 0
    seen = calls(tmp_path)
    assert f"git checkout --detach {COMMIT}" in seen
    assert seen.count("data") == 1
    runs = [call for call in seen if call.startswith("python eval.py")]
    assert [call.split()[3] for call in runs] == [
        f"configs/{family}.yaml" for family in ("recall", "rag", "rerank", "cite", "longqa", "summ", "icl")
    ]
    assert all(f"--model_name_or_path {tmp_path / 'model'}" in call for call in runs)


def test_a_failed_family_stops_the_run_and_the_next_one_goes_on(tmp_path: Path) -> None:
    assert run(tmp_path, FAIL="rerank").returncode != 0
    (tmp_path / "log").unlink()
    assert run(tmp_path, CHAT="False").returncode == 0
    runs = [call for call in calls(tmp_path) if call.startswith("python eval.py")]
    assert runs[0].split()[3] == "configs/rerank.yaml"
    assert len(runs) == 5
    assert all(call.endswith("--use_chat_template False") for call in runs)


@pytest.mark.parametrize(("name", "value"), [("CHECKPOINT", ""), ("HELMET", ""), ("LENGTHS", "middle")])
def test_a_wrong_setting_is_refused_before_anything_is_done(tmp_path: Path, name: str, value: str) -> None:
    seen = run(tmp_path, **{name: value})
    assert seen.returncode != 0
    assert name in seen.stderr
    assert not (tmp_path / "log").exists()


def test_short_lengths_take_their_own_configurations(tmp_path: Path) -> None:
    assert run(tmp_path, LENGTHS="short", FAMILIES="icl").returncode == 0
    runs = [call for call in calls(tmp_path) if call.startswith("python eval.py")]
    assert [call.split()[3] for call in runs] == ["configs/icl_short.yaml"]
