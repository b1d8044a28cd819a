"""Findings on a configuration: each planted fault is found with its number, a sound file has none."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from smoldata.registry import load_registry
from smolmix.cli import app
from smolmix.nanotron import emit
from smolmix.nanotron_folders import Folder, look
from smolmix.nanotron_lint import lint, lint_licences, stages_of
from smolmix.nanotron_schema import NanotronConfig
from smolmix.planner import chain, plan_stage
from smolmix.recipe import load_recipe
from smolmix.sources import names_of, supply_from_registry


@pytest.fixture(scope="module")
def config() -> NanotronConfig:
    """Return what we write for the released stage 2, after stage 1."""
    recipe = load_recipe("2")
    supply = supply_from_registry(recipe, names_of(s.recipe for s in chain(recipe)), load_registry())
    plans = [plan.as_json() for plan in plan_stage(recipe, supply, preset="released", profile="full")]
    return emit(plans[1], plans[:1]).config


def changed(config: NanotronConfig, **dataset: Any) -> NanotronConfig:
    """Return the configuration with other dataset keys in its last stage."""
    last = config.data_stages[-1]
    new = last.data.dataset.model_copy(update=dataset)
    stage = last.model_copy(update={"data": last.data.model_copy(update={"dataset": new})})
    return config.model_copy(update={"data_stages": [*config.data_stages[:-1], stage]})


def codes(config: NanotronConfig) -> dict[str, str]:
    return {finding.code: finding.message for finding in lint(config)}


def test_our_own_file_has_no_error(config: NanotronConfig) -> None:
    assert not [finding for finding in lint(config) if finding.severity == "error"]


def test_stages_and_windows(config: NanotronConfig) -> None:
    first, second = stages_of(config)
    assert (first.first_step, second.first_step) == (1, 3_450_001)
    assert first.windows == 3_450_000 * 576
    assert abs(sum(second.folders.values()) - second.windows) == 0


def test_the_index_of_the_whole_run(config: NanotronConfig) -> None:
    tokens = config.tokens.model_copy(update={"train_steps": 4_720_000})
    found = codes(config.model_copy(update={"tokens": tokens}))
    assert "2,718,720,000 windows: 27.19 GB" in found["index-memory"]


@pytest.mark.parametrize(
    ("start", "steps", "code", "message"),
    [
        (4_198_001, 4_720_000, "decay-share", "522,000 of 4,720,000 steps (~11.06 %)"),
        (4_198_001, 4_198_000, "decay-share", "starts at step 4,198,001, after this launch"),
        (4_000_000, 4_720_000, "decay-end", "ends at step 4,521,999, the run at 4,720,000"),
    ],
)
def test_the_decay(config: NanotronConfig, start: int, steps: int, code: str, message: str) -> None:
    schedule = config.optimizer.learning_rate_scheduler.model_copy(
        update={"lr_decay_starting_step": start, "lr_decay_steps": 522_000}
    )
    optimizer = config.optimizer.model_copy(update={"learning_rate_scheduler": schedule})
    tokens = config.tokens.model_copy(update={"train_steps": steps})
    found = codes(config.model_copy(update={"optimizer": optimizer, "tokens": tokens}))
    assert message in found[code]
    assert ("decay-end" in found) is (code == "decay-end")


def test_weights_that_do_not_sum_to_one(config: NanotronConfig) -> None:
    found = codes(changed(config, dataset_folder=["s3/a", "s3/b"], dataset_weights=[0.5, 0.50005]))
    assert "2 weights sum to 1.00005" in found["weights-sum"]


def test_a_starved_folder(config: NanotronConfig) -> None:
    found = codes(changed(config, dataset_folder=["s3/a", "s3/b"], dataset_weights=[1.0, 1e-12]))
    assert "s3/b gets" in found["starved-folder"]


@pytest.mark.parametrize(
    ("dataset", "code", "message"),
    [
        ({"dataset_folder": ["data/a", "s3/b"]}, "s3-path", "1 of 2 folders have no 's3'"),
        ({"token_size_in_bytes": 2}, "token-width", "128,256 ids do not fit in 2 bytes"),
        ({"dataset_folder": ["s3/a", "s3/a"]}, "folder-twice", "1 folders stand twice"),
    ],
)
def test_datasets(config: NanotronConfig, dataset: dict[str, Any], code: str, message: str) -> None:
    base = {"dataset_folder": ["s3/a", "s3/b"], "dataset_weights": [0.5, 0.5]}
    assert message in codes(changed(config, **(base | dataset)))[code]


def test_fresh_stages_and_lengths(config: NanotronConfig) -> None:
    checkpoints = config.checkpoints.model_copy(update={"resume_checkpoint_path": None})
    stage = config.data_stages[1].model_copy(update={"sequence_length": 8192})
    broken = config.model_copy(
        update={"checkpoints": checkpoints, "data_stages": [config.data_stages[0], stage]}
    )
    found = codes(broken)
    assert "2 data stages without resume" in found["fresh-stages"]
    assert "sequence_length 8192, tokens.sequence_length is 4096" in found["length-change"]


def shards(folder: Path, *tokens: int, width: int = 4) -> str:
    folder.mkdir(parents=True)
    for number, count in enumerate(tokens):
        (folder / f"{number}.ds").write_bytes(bytes(width * count))
    return str(folder)


def test_folders_on_this_machine_are_counted(config: NanotronConfig, tmp_path: Path) -> None:
    folder = shards(tmp_path / "s3-local" / "a", 4097 * 3 + 4096, 4097, 100)
    assert look(folder, 4, 4096) == Folder(3, 4, 4097 * 4 + 4196, 4196, 1, 0)
    assert look("s3://bucket/a", 4, 4096) is None
    found = codes(changed(config, dataset_folder=[folder], dataset_weights=[1.0]))
    assert "holds 4 windows, the stages draw 430848000" in found["folder-runs-out"]
    assert "4,196 of 20,584 tokens (~20.385 %) stand at the ends of 3 shards" in found["window-remainders"]
    assert "1 of them without any" in found["window-remainders"]


def test_a_cut_file_and_a_wrong_width(config: NanotronConfig, tmp_path: Path) -> None:
    folder = shards(tmp_path / "s3" / "a", 4097)
    (Path(folder) / "0.ds").write_bytes(bytes(4 * 4097 + 2))
    found = codes(changed(config, dataset_folder=[folder], dataset_weights=[1.0]))
    assert "1 of 1 files are no whole number of tokens" in found["broken-width"]


def test_whole_windows_lose_nothing(config: NanotronConfig, tmp_path: Path) -> None:
    folder = shards(tmp_path / "s3" / "a", 4097 * 2, 4097)
    assert "window-remainders" not in codes(changed(config, dataset_folder=[folder], dataset_weights=[1.0]))


def test_the_assertion_on_read_paths(config: NanotronConfig, tmp_path: Path) -> None:
    # Stage 2 alone draws 430,848,000 windows; the assertion asks for all 2,418,048,000 of the run.
    folder = shards(tmp_path / "s3" / "a", 4097)
    dataset = {"dataset_folder": [folder], "dataset_weights": [1.0], "dataset_read_path": ["local"]}
    assert "= 2,418,048,000, as if the whole run" in codes(changed(config, **dataset))["read-path-capacity"]
    without = codes(changed(config, **(dataset | {"dataset_read_path": None})))
    assert "read-path-capacity" not in without


def small(config: NanotronConfig, steps: int) -> NanotronConfig:
    """Give two stages of as many steps each, 2 windows a step, blended .1, .1, .8."""
    data = {"dataset_folder": ["s3/a", "s3/b", "s3/c"], "dataset_weights": [0.1, 0.1, 0.8]}
    first, second = (
        stage.model_copy(update={"data": stage.data.model_copy(update={
            "dataset": stage.data.dataset.model_copy(update=data)})})
        for stage in config.data_stages
    )  # fmt: skip
    return config.model_copy(
        update={
            "data_stages": [first, second.model_copy(update={"start_training_step": steps + 1})],
            "parallelism": config.parallelism.model_copy(update={"dp": 2}),
            "tokens": config.tokens.model_copy(
                update={"train_steps": 2 * steps, "micro_batch_size": 1, "batch_accumulation_per_replica": 1}
            ),
        }
    )


def test_the_record_of_a_second_stage_is_wrong(config: NanotronConfig) -> None:
    assert "less than 92 windows a stage" in codes(config)["consumption-record"]
    message = codes(small(config, 6))["consumption-record"]  # the run of the ledger's tests
    assert "of s3/a 2 are read in stage2 and 1 recorded" in message
    assert "reads 0 windows again and passes over 0" in message
    one = config.model_copy(update={"data_stages": config.data_stages[:1]})
    assert "consumption-record" not in codes(one)


def test_licences_of_folders_named_after_sources(config: NanotronConfig) -> None:
    known = load_registry().sources
    unknown = [name for name, source in known.items() if source.licence is None][0]  # noqa: RUF015 - the first
    new = changed(config, dataset_folder=[f"s3://x/{unknown}", "s3/dclm"], dataset_weights=[0.25, 0.75])
    new = new.model_copy(update={"data_stages": new.data_stages[1:]})
    (found,) = (one for one in lint_licences(new, ()) if one.code == "licence-unknown")
    assert found.source == unknown
    assert "107,712,000 of 430,848,000 windows (25 %) from 1 source state" in found.message
    (error,) = (one for one in lint_licences(new, ["unknown"]) if one.severity == "error")
    assert (error.code, error.source) == ("licence-forbidden", unknown)


def test_the_command_fails_where_the_run_would(config: NanotronConfig, tmp_path: Path) -> None:
    import yaml

    for name, one, code in (
        ("good", config, 0),
        ("bad", changed(config, dataset_folder=["a"], dataset_weights=[1.0]), 1),
    ):
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(one.model_dump(by_alias=True, exclude_none=False)))
        result = CliRunner().invoke(app, ["lint", str(file)])
        assert result.exit_code == code, result.output
        assert "decay-share" in result.output
