"""RULER after a step, by the real program; and what is said where it isn't there."""

from pathlib import Path

import pytest

from smoldata.errors import InputError
from smoltrain.post import pipeline
from smoltrain.post.pipeline import Asked, posttrain
from smoltrain.post.ruler import Ruler, build_prompts, ruler_scores


@pytest.mark.system
@pytest.mark.timeout(900)
def test_a_checkpoint_is_scored_by_the_program(base: Path, tokenizer: Path, tmp_path: Path) -> None:
    filler = tmp_path / "build"
    ruler = Ruler("2k", 1, "niah_single_1")
    prompts = build_prompts(ruler, filler, "sample", tokenizer, tmp_path / "prompts")
    scores = ruler_scores(base, prompts, tokenizer, tmp_path / "scores")
    assert set(scores) == {"mean", "niah_single_1"}
    assert all(0 <= one <= 1 for one in scores.values())


def test_without_the_program_it_is_refused(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "is_installed", lambda: False)
    with pytest.raises(InputError, match="smoleval"):
        posttrain(Asked(tmp_path, base, ruler=Ruler("1k")))
