"""Half checkpoints are known as such, whole ones are gone on from, whatever latest.txt says."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.train.nanotron.conftest import write_checkpoint

from smoldata.errors import InputError
from smoltrain.nanotron import checkpoints
from smoltrain.nanotron.checkpoints import Found, fault_of, last_whole, resumed, rewrite, seal

pytest.importorskip("torch", reason="torch is missing: run `make setup-train`")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "8", tp=2, dp=2)


def files(checkpoint: Path) -> list[Path]:
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def test_what_ranks_leave_is_whole_with_and_without_a_seal(tmp_path: Path) -> None:
    for zero_stage in (0, 1):
        one = write_checkpoint(tmp_path / str(zero_stage), tp=2, dp=2, zero_stage=zero_stage)
        assert fault_of(one) is None
        seal(one)
        assert fault_of(one) is None


@settings(max_examples=40, deadline=None)
@given(data=st.data(), sealed=st.booleans())
def test_a_file_that_is_cut_or_missing_is_seen(data: st.DataObject, sealed: bool, whole: Path) -> None:
    (whole / checkpoints.SEAL).unlink(missing_ok=True)
    if sealed:
        seal(whole)
    path = data.draw(st.sampled_from([one for one in files(whole) if one.name != checkpoints.SEAL]))
    before = path.read_bytes()
    cut = data.draw(st.none() | st.integers(0, len(before) - 1))
    try:
        path.unlink() if cut is None else os.truncate(path, cut)
        assert fault_of(whole) is not None
    finally:
        path.write_bytes(before)
    assert fault_of(whole) is None


def test_a_seal_that_is_no_seal_is_a_fault(whole: Path) -> None:
    for content in ("", "[]", "{}"):
        (whole / checkpoints.SEAL).write_text(content)
        assert "cannot be read" in str(fault_of(whole))
    (whole / checkpoints.SEAL).unlink()


def test_the_last_whole_step_is_found_and_the_later_ones_are_named(tmp_path: Path) -> None:
    assert last_whole(tmp_path / "nothing") == Found(None)
    for step in (2, 4, 10, 12):
        write_checkpoint(tmp_path / str(step))
    (tmp_path / "latest.txt").write_text("")  # as a process leaves it that is killed while writing it
    (tmp_path / "10/model_config.json").unlink()
    (tmp_path / "12/random/tp-0-of-1_dp-0-of-1_pp-0-of-1.pt").unlink()
    found = last_whole(tmp_path)
    assert (found.checkpoint, found.step) == (tmp_path / "4", 4)
    assert [folder.name for folder, _ in found.halves] == ["12", "10"]
    assert "model_config.json is missing" in found.told()
    assert "random has the files of 0 of 1 ranks" in found.told()
    assert last_whole(tmp_path / "2") == Found(tmp_path / "2")
    assert last_whole(tmp_path / "10").checkpoint is None


def configuration(stage: str, before: str | None, first: int, *, schedule: bool = True) -> dict[str, object]:
    asked = {
        "checkpoints_path": f"checkpoints/{stage}",
        "resume_checkpoint_path": before,
        "load_optimizer": schedule,
        "load_lr_scheduler": schedule,
    }
    return {"checkpoints": asked, "data_stages": [{"name": stage, "start_training_step": first}]}


def test_a_stage_waits_for_the_end_of_the_one_before(tmp_path: Path) -> None:
    values = configuration("two", "checkpoints/one", 21)
    with pytest.raises(InputError, match=r"two goes on from .*one holds no checkpoint"):
        resumed(values, tmp_path, "two")
    write_checkpoint(tmp_path / "checkpoints/one/15")
    last = write_checkpoint(tmp_path / "checkpoints/one/20")
    (last / "checkpoint_metadata.json").unlink()
    with pytest.raises(InputError, match=r"begins after step 20, .*one/15 .*checkpoint_metadata.json is"):
        resumed(values, tmp_path, "two")
    fresh = configuration("two", "checkpoints/one", 1, schedule=False)  # a lineage of its own: any weights
    assert resumed(fresh, tmp_path, "two")[0]["checkpoints"]["resume_checkpoint_path"] == "checkpoints/one/15"
    write_checkpoint(last)
    made, _ = resumed(values, tmp_path, "two")
    assert made["checkpoints"]["resume_checkpoint_path"] == "checkpoints/one/20"
    assert values["checkpoints"] == configuration("two", "checkpoints/one", 21)["checkpoints"]  # not changed


def test_a_job_that_is_started_again_goes_on_from_its_own_last_whole_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "nanotron-plan.yaml"
    file.write_text(yaml.safe_dump(configuration("two", "checkpoints/one", 21, schedule=False)), "utf-8")
    write_checkpoint(tmp_path / "checkpoints/one/20")
    rewrite(file, tmp_path)
    asked = yaml.safe_load(file.read_text("utf-8"))["checkpoints"]
    assert (asked["resume_checkpoint_path"], asked["load_optimizer"]) == ("checkpoints/one/20", False)
    for step in (25, 30):
        write_checkpoint(tmp_path / f"checkpoints/two/{step}")
    (tmp_path / "checkpoints/two/30/config.yaml").unlink()
    for _ in range(2):
        rewrite(file, tmp_path)
        asked = yaml.safe_load(file.read_text("utf-8"))["checkpoints"]
        assert (asked["resume_checkpoint_path"], asked["load_optimizer"]) == ("checkpoints/two/25", True)
    assert "two/30 is no whole checkpoint (config.yaml is missing)" in capsys.readouterr().err
