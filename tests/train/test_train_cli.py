"""The command line: light help, one-line errors with exit codes, what a step saw, the ledger's proof."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smoldata.errors import InputError, IntegrityError
from smoltok.shards import open_shard
from smoltrain.cli import app, default_run
from smoltrain.ledger import write_segment
from smoltrain.loader import open_loader

if TYPE_CHECKING:
    from tests.conftest import SmallHouse

FINISHED = "run/checkpoints/step-" + "[0-9]" * 7
MAIN = "import sys; from smoltrain.cli import main; sys.argv[0] = 'smoltrain'; main()"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments], capture_output=True, text=True, check=False
    )


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a command with ``--json`` in this process and return what it prints."""
    app([*arguments, "--json"], standalone_mode=False)
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", [["train"], ["what"], ["heldout"], ["ledger", "check"]])
def test_every_help_has_an_example(command: list[str]) -> None:
    seen = run(*command, "--help")
    assert seen.returncode == 0
    assert f"smoltrain {' '.join(command)}" in " ".join(
        seen.stdout.split("Usage")[1].split("\n", 1)[1].split()
    )


def test_wrong_input_is_one_line_and_exit_code_2(small_house: "SmallHouse") -> None:
    assert run("train").returncode == 2
    seen = run("train", "--bundle", str(small_house.bundle), "--size", "huge")
    assert (seen.returncode, len(seen.stderr.strip().splitlines())) == (2, 1)
    assert "the sizes are tiny, debug, 200m, 370m, 1b, 3b" in seen.stderr


def test_more_steps_than_the_stage_has_are_refused(small_house: "SmallHouse") -> None:
    pytest.importorskip("torch", reason="torch is missing: run `make setup-train`")
    with pytest.raises(InputError, match=r"--steps 1000000000, but the stage in .* has"):
        app(["train", "--bundle", str(small_house.bundle), "--steps", "1000000000"], standalone_mode=False)


def test_a_run_goes_beside_the_bundles(small_house: "SmallHouse") -> None:
    bundle = open_loader(small_house.bundle).bundle
    folder = default_run(bundle, "tiny")
    assert folder == small_house.build.resolve() / "runs" / f"trial-tiny-{bundle.plan.lock.hash[:8]}"


def test_what_a_step_saw_is_what_the_loader_gave(
    small_house: "SmallHouse", capsys: pytest.CaptureFixture[str]
) -> None:
    loader = open_loader(small_house.bundle)
    batch = loader.batch(3)
    rows = call(
        capsys, "what", "3", "--bundle", str(small_house.bundle), "--tokenizer", str(small_house.tokenizer)
    )
    first = int(batch.places.index[0])
    by_window = [[row for row in rows if row["index"] == first + at] for at in range(len(batch.ids))]
    for at, seen in enumerate(by_window):
        assert sum(row["tokens"] for row in seen) == loader.bundle.sequence_length
        starts = [row["tokens"] for row in seen]
        positions = [position for tokens in starts for position in range(tokens)]
        assert positions == batch.positions[at].tolist()
        assert {row["source"] for row in seen} == {loader.bundle.sources[batch.places.source[at]]}
    for row in rows:
        folder = small_house.build / "tokens" / "trial" / row["source"]
        shard = open_shard(folder / row["shard"])
        number = shard.document_ids().index(row["document"])
        window = row["window"] * (loader.bundle.sequence_length + 1)
        start = int(shard.ends[number - 1]) if number else 0
        assert start + row["first_token"] >= window
        original = document_text(small_house, row["source"], row["document"])
        assert row["text"].strip("\ufffd") in original


def test_what_refuses_a_shard_that_the_plan_does_not_know(small_house: "SmallHouse", tmp_path: Path) -> None:
    shutil.copytree(small_house.build / "tokens", tmp_path / "tokens")
    shutil.copytree(small_house.bundle, tmp_path / "bundles" / "trial")
    listed = tmp_path / "bundles" / "trial" / "shards.parquet"
    table = pq.read_table(listed)
    more = pa.array([tokens + 1 for tokens in table.column("tokens").to_pylist()])
    pq.write_table(table.set_column(table.column_names.index("tokens"), "tokens", more), listed)
    arguments = ["what", "0", "--bundle", str(listed.parent), "--tokenizer", str(small_house.tokenizer)]
    with pytest.raises(IntegrityError, match="it was tokenized anew since"):
        app(arguments, standalone_mode=False)


def document_text(house: "SmallHouse", source: str, name: str) -> str:
    for path in sorted((house.build / "documents" / source).glob("0*.parquet")):
        for row in pq.read_table(path).to_pylist():
            if row["id"] == name:
                return str(row["text"])
    raise KeyError(name)


def test_the_ledger_is_proved_or_refused(
    small_house: "SmallHouse", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loader = open_loader(small_house.bundle)
    consumed = [loader.batch(step).places for step in range(4)]
    write_segment(tmp_path / "ledger", loader.bundle, 0, consumed)
    proof = call(capsys, "ledger", "check", str(tmp_path), "--bundle", str(small_house.bundle))
    assert (proof["steps"], proof["windows"]) == (4, 24)
    write_segment(tmp_path / "ledger", loader.bundle, 0, [consumed[at] for at in (0, 2, 1, 3)])
    seen = run("ledger", "check", str(tmp_path), "--bundle", str(small_house.bundle))
    assert seen.returncode == 1
    assert "error: " in seen.stderr
    assert "(step 1) has index 12, the plan says 6" in " ".join(seen.stderr.split())


def test_a_run_of_another_plan_is_not_compared(small_house: "SmallHouse", tmp_path: Path) -> None:
    loader = open_loader(small_house.bundle)
    write_segment(tmp_path / "ledger", loader.bundle, 0, [loader.batch(0).places])
    (tmp_path / "run.json").write_text(json.dumps({"settings": {"lock": "0" * 64}}))
    with pytest.raises(InputError, match=r"was trained on plan 0{64}, the bundle holds plan"):
        app(["ledger", "check", str(tmp_path), "--bundle", str(small_house.bundle)], standalone_mode=False)


def test_ctrl_c_is_clean_and_the_run_goes_on(small_house: "SmallHouse", tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is missing: run `make setup-train`")
    arguments = ["train", "--bundle", str(small_house.bundle), "--out", str(tmp_path / "run")]
    arguments += ["--steps", "400", "--checkpoint-every", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(FINISHED)) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert "run the same command again" in " ".join(errors.split())
    assert "Traceback" not in errors
    assert not list(tmp_path.rglob("*.tmp-*"))
    assert list(tmp_path.glob(FINISHED))
