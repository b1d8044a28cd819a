"""The registry lists every published source, and teaches when a user's file does not fit."""

import collections
import importlib.metadata
from pathlib import Path

import pytest
from tests.data.helpers import own_source, write_registry

from smoldata.errors import InputError, SourceError
from smoldata.registry import Columns, Registry, load_registry
from smoldata.sample.lock import read_lock


def test_every_published_source_is_listed(shipped: Registry) -> None:
    # Counts of huggingface/smollm text/pretraining/smollm3/*.yaml; 77 names, and 2 of mid-training.
    stages = collections.Counter(stage for source in shipped.sources.values() for stage in source.stages)
    assert stages == {
        "stage1": 41,
        "stage2": 46,
        "stage3": 56,
        "long_context_32k": 56,
        "long_context_64k": 57,
        "mid": 2,
    }
    assert len(shipped.sources) == 79


def test_groups_and_domains_of_stage_two(shipped: Registry) -> None:
    groups = collections.Counter(source.group for source in shipped.select(stage="stage2"))
    assert groups == {"web/english": 4, "web/multilingual": 14, "code": 21, "math": 7}


def test_eight_origins_are_unpublished_and_have_no_hub(shipped: Registry) -> None:
    unpublished = {name for name, source in shipped.sources.items() if source.origin == "unpublished"}
    assert unpublished == {
        "mwiki",
        "pull-requests",
        "problem-solving",
        "2students",
        "reasoning-17m",
        "reasoning-tulu-580k",
        "wiki-mcq-14m",
        "code-sft-tulu-nemotron-180k",
    }
    assert {name for name, source in shipped.sources.items() if source.hub is None} == unpublished


def test_reasoning_belongs_to_math(shipped: Registry) -> None:
    reasoning = [source for source in shipped.sources.values() if source.group == "math/reasoning"]
    assert reasoning
    assert {source.domain for source in reasoning} == {"math"}


def test_gated_and_identifier_only_sources(shipped: Registry) -> None:
    for name, source in shipped.sources.items():
        assert source.hub is None or source.hub.gated == (
            source.hub.dataset in {"bigcode/the-stack-v2", "bigcode/starcoder2data-extras"}
        ), name
        is_stack = name.startswith(("stack-v2-", "stack-edu-"))
        assert source.hub is None or (source.hub.contents == "software_heritage") == is_stack, name


def test_every_sample_package_is_locked_or_installed_and_has_a_licence(shipped: Registry) -> None:
    locked = {pin.package for pin in read_lock()}
    named = {take.package for source in shipped.sources.values() for take in source.sample}
    for package in named:
        assert shipped.packages[package].licence
        if package not in locked:
            importlib.metadata.version(package)
    assert locked <= named


def test_a_source_without_sample_says_why(shipped: Registry) -> None:
    for name, source in shipped.sources.items():
        assert bool(source.sample) != bool(source.why_absent), name


def test_published_sizes_have_an_origin(shipped: Registry) -> None:
    for name, source in shipped.sources.items():
        assert source.size is not None, name
        assert source.size.origin, name
        figures = (source.size.tokens, source.size.documents, source.size.bytes)
        assert (source.size.confidence is not None) == any(figures), name


def test_known_sizes(shipped: Registry) -> None:
    size = shipped.source("finemath-4plus").size
    assert size is not None
    assert (size.tokens, size.documents, size.bytes) == (9_600_000_000, 6_699_493, 39_101_488_149)


def test_unknown_source_names_close_ones(shipped: Registry) -> None:
    with pytest.raises(SourceError, match=r"fineweb-edo.*did you mean fineweb-edu"):
        shipped.source("fineweb-edo")


def test_unknown_stage_lists_the_valid_ones(shipped: Registry) -> None:
    with pytest.raises(SourceError, match=r"stage9.*mid, stage1, stage2, stage3"):
        shipped.select(stage="stage9")


def test_select_by_group_takes_the_group_under_it(shipped: Registry) -> None:
    web = {source.name for source in shipped.select(stage="stage1", group="web")}
    parts = [shipped.select(stage="stage1", group=f"web/{part}") for part in ("english", "multilingual")]
    assert web == {source.name for part in parts for source in part}


def test_own_source_is_laid_over(tmp_path: Path) -> None:
    path = write_registry(tmp_path / "own.yaml", {"mine": own_source(tmp_path)})
    registry = load_registry(path)
    assert len(registry.sources) == 80
    assert registry.source("mine").origin == "own"


def test_unpublished_source_can_be_pointed_at_own_data(tmp_path: Path) -> None:
    location = {"url": str(tmp_path), "files": ["*.parquet"]}
    registry = load_registry(write_registry(tmp_path / "own.yaml", {"mwiki": {"location": location}}))
    source = registry.source("mwiki")
    assert source.location is not None
    assert source.group == "web/english"
    assert source.stages == ("stage3", "long_context_32k", "long_context_64k")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kinds": "code"}, r"unknown key sources.mine.kinds; did you mean kind\?"),
        ({"columns": {"txt": ["text"]}}, r"unknown key sources.mine.columns.txt; did you mean text"),
        ({"location": {"urls": "x"}}, r"unknown key sources.mine.location.urls; did you mean url"),
        ({"group": "math"}, r"group math is not in domain code"),
        ({"kind": "poetry"}, r"sources.mine.kind"),
    ],
)
def test_a_key_that_does_not_fit_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = write_registry(tmp_path / "own.yaml", {"mine": own_source(tmp_path, **change)})
    with pytest.raises(InputError, match=message):
        load_registry(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("sources: [", "is not YAML"), ("a: 1", "no `sources:` mapping"), ("- 1", "no `sources:`")],
)
def test_a_file_that_is_no_registry(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_registry(tmp_path / "own.yaml")


def test_missing_registry_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no registry at"):
        load_registry(tmp_path / "none.yaml")


def test_columns_lists_each_name_once() -> None:
    columns = Columns(text=("a", "b"), id="b", url="c", scores=("s",), metadata=("a", "m"))
    assert columns.names() == ("a", "b", "c", "s", "m")
