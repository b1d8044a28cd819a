"""An estimate before a hub run: published figures or the limit, unknown shown as unknown, obstacles named."""

from pathlib import Path

import pytest

from smoldata.errors import SourceError
from smoldata.estimate import estimate_build
from smoldata.pipeline_types import Limit
from smoldata.registry import Registry


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("smoldata.estimate.has_token", lambda: False)


def test_published_bytes_come_first(shipped: Registry, tmp_path: Path) -> None:
    result = estimate_build([shipped.source("finemath-4plus")], tmp_path, "hub", Limit())
    (entry,) = result.sources
    assert (entry.text_bytes, entry.basis) == (39_101_488_149, "published bytes")
    assert result.text_bytes == 39_101_488_149
    assert 0 < result.disk_bytes < result.text_bytes


def test_tokens_stand_in_for_bytes(shipped: Registry, tmp_path: Path) -> None:
    (entry,) = estimate_build([shipped.source("wiki")], tmp_path, "hub", Limit()).sources
    assert entry.text_bytes == 4 * 3_700_000_000


def test_unknown_is_unknown(shipped: Registry, tmp_path: Path) -> None:
    result = estimate_build([shipped.source("stack-v2-Go")], tmp_path, "hub", Limit())
    assert result.sources[0].text_bytes is None
    assert result.unknown == ("stack-v2-Go",)
    assert any("gated" in problem for problem in result.problems)


def test_a_limit_bounds_everything(shipped: Registry, tmp_path: Path) -> None:
    chosen = [shipped.source(name) for name in ("fineweb-edu", "stack-v2-Go")]
    result = estimate_build(chosen, tmp_path, "hub", Limit(bytes=1_000_000))
    assert [entry.text_bytes for entry in result.sources] == [1_000_000, 1_000_000]
    assert estimate_build(chosen, tmp_path, "hub", Limit(tokens=250_000)).text_bytes == 2_000_000


def test_a_trial_of_some_documents_is_small(shipped: Registry, tmp_path: Path) -> None:
    chosen = [shipped.source(name) for name in ("finemath-4plus", "stack-v2-Go")]
    size = chosen[0].size
    assert size is not None
    assert size.documents is not None
    known, unknown = estimate_build(chosen, tmp_path, "hub", Limit(documents=100)).sources
    assert size.bytes is None or known.text_bytes == -(-size.bytes // size.documents) * 100
    assert 100 * 1_000 < (known.text_bytes or 0) < 100 * 20_000
    assert (unknown.text_bytes, unknown.basis) == (1_000_000, "the limit")


def test_a_disk_that_is_too_small_is_said_first(shipped: Registry, tmp_path: Path) -> None:
    result = estimate_build([shipped.source("dclm")], tmp_path, "hub", Limit())
    if result.disk_bytes > result.free_bytes:
        assert "GB free" in result.problems[0]


def test_obstacles(shipped: Registry, tmp_path: Path) -> None:
    chosen = [shipped.source(name) for name in ("mwiki", "stack-edu-Go", "wiki")]
    problems = {
        line.partition(":")[0]: line
        for line in estimate_build(chosen, tmp_path, "hub", Limit(bytes=1)).problems
    }
    assert "not published" in problems["mwiki"]
    assert "Software Heritage" in problems["stack-edu-Go"]
    assert "wiki" not in problems


def test_full_has_nothing_to_build(shipped: Registry, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="profile 'full' has no documents"):
        estimate_build([shipped.source("wiki")], tmp_path, "full", Limit())
