"""Ablations: one thing changes, the windows do not; caches and files are as large as they say."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

torch = pytest.importorskip("torch", reason="torch is missing: run `make setup-train`")

from smoldata.errors import InputError  # noqa: E402 - after the check for torch
from smolmix.nanotron_schema import load_config  # noqa: E402
from smolmix.plan import load_plan  # noqa: E402
from smoltrain.ablate import BASELINE, ablate, kv_cache_bytes, load_results, variants  # noqa: E402
from smoltrain.ablation_grid import changes_of, write_grid  # noqa: E402
from smoltrain.bundle import Bundle, open_bundle  # noqa: E402
from smoltrain.ledger import check_ledger  # noqa: E402
from smoltrain.run import RunFolder, Settings  # noqa: E402

if TYPE_CHECKING:
    from tests.conftest import SmallHouse

STEPS = 3


@pytest.fixture(scope="module")
def bundle(small_house: "SmallHouse") -> Bundle:
    return open_bundle(small_house.bundle)


def settings_for(bundle: Bundle, size: str = "tiny") -> Settings:
    return Settings(
        lock=bundle.plan.lock.hash,
        size=size,
        steps=STEPS,
        micro_batch=6,
        checkpoint_every=STEPS,
        learning_rate=1e-2,
        rope_theta=50_000.0,
        seed=6,
        heldout_every=STEPS,
        heldout_windows=1,
    )


def test_variants_change_one_thing_and_read_the_same_windows(bundle: Bundle, tmp_path: Path) -> None:
    outcomes = ablate(bundle, settings_for(bundle), tmp_path)
    assert [len(one.changed) for one in outcomes] == [0, 1, 1, 1, 1]
    proofs = [check_ledger(RunFolder(tmp_path / one.variant).ledger, bundle) for one in outcomes]
    assert all(proof == proofs[0] for proof in proofs)
    losses = {one.variant: one.losses for one in outcomes}
    assert all(len(each) == STEPS for each in losses.values())
    # The first step's rate is 0, the second learns; what weighs the embedding shows from the third on.
    assert losses["decayed"][:2] == losses[BASELINE][:2]
    assert len({tuple(each) for name, each in losses.items() if name != "unmasked"}) == len(losses) - 1
    by_name = {one.variant: one for one in outcomes}
    assert by_name["mha"].parameters > by_name[BASELINE].parameters == by_name["rope"].parameters
    assert by_name["mha"].kv_cache_bytes_per_token == 4 * by_name[BASELINE].kv_cache_bytes_per_token
    assert all(one.heldout.keys() == by_name[BASELINE].heldout.keys() != set() for one in outcomes)
    written = load_results(tmp_path)
    assert [one["losses"] for one in written["variants"]] == list(losses.values())
    svg = (tmp_path / "losses.svg").read_text()
    assert svg.startswith("<svg")
    assert "multi-head attention" in svg
    # Finished variants are not trained again, and the pictures come out the same.
    assert [one.losses for one in ablate(bundle, settings_for(bundle), tmp_path)] == list(losses.values())
    assert (tmp_path / "losses.svg").read_text() == svg


def test_the_cache_of_the_published_shape(bundle: Bundle) -> None:
    settings = settings_for(bundle, "3b")
    # 36 layers x (keys and values) x 4 heads x 128 x 2 bytes; multi-head attention has 16 heads.
    assert kv_cache_bytes(bundle, settings, tokens=2) == 36 * 2 * 4 * 128 * 2 == 73_728
    assert kv_cache_bytes(bundle, variants(settings)["mha"], tokens=2) == 4 * 73_728


def test_an_unknown_variant_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are baseline, mha, rope, unmasked, decayed"):
        ablate(bundle, settings_for(bundle), tmp_path, ["alibi"])


def test_the_published_grid(tmp_path: Path) -> None:
    grid = write_grid(tmp_path, gpus=384)
    plan = load_plan(tmp_path / "plan")
    assert grid.tokens_each == plan.tokens == 100_000_000_000 // 2_359_296 * 2_359_296
    assert [source.name for source in plan.sources] == ["fineweb-edu"]
    base = yaml.safe_load((tmp_path / BASELINE / "nanotron.yaml").read_text())
    for name in changes_of():
        config = load_config(tmp_path / name / "nanotron.yaml")
        assert (config.batch_windows, config.tokens.train_steps) == (576, plan.steps)
        values = yaml.safe_load((tmp_path / name / "nanotron.yaml").read_text())
        differing = {
            f"{part}.{key}" if not isinstance(inner, dict) else f"{part}.{key}.{deep}"
            for part in ("model", "optimizer", "parallelism", "tokens")
            for key, inner in base[part].items()
            for deep in (inner if isinstance(inner, dict) else [key])
            if (inner if not isinstance(inner, dict) else inner[deep])
            != (values[part][key] if not isinstance(inner, dict) else values[part][key][deep])
        }
        assert differing == changes_of()[name].keys()
        assert (tmp_path / name / "train.sbatch").read_text().startswith("#!")
    cost = json.loads((tmp_path / "cost.json").read_text())
    assert len(cost["stages"]) == len(changes_of())
