"""Verification: one changed, missing or extra byte anywhere is found and named."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smoldata.errors import InputError
from smolmix.bundle import write_bundle
from smolmix.nanotron import Launch
from smolmix.verify import verify_bundle


@pytest.fixture(scope="module")
def bundle(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    sample = Path(shutil.copytree(built, tmp_path_factory.mktemp("verify") / "build")) / "sample"
    name = "stage2-blog"
    return write_bundle(
        sample / "plans" / name, sample / "bundles" / name, recipe=b"name: x\n", launch=Launch(model="debug")
    )


def test_an_untouched_bundle_is_proved(bundle: Path) -> None:
    report = verify_bundle(bundle)
    assert report.ok
    assert (report.files, report.shards, report.virtual_shards) == (8, 6, 0)
    assert report.bytes > 100_000


def files_of(bundle: Path) -> list[Path]:
    mine = [path for path in sorted(bundle.rglob("*")) if path.is_file()]
    return mine + sorted((bundle.parent.parent / "tokens").glob("*/*/0*.ds"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_flipped_bit_anywhere_is_found_and_named(bundle: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(files_of(bundle)))
    good = path.read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    bit = data.draw(st.integers(0, 7))
    bad = bytearray(good)
    bad[place] ^= 1 << bit
    path.write_bytes(bad)
    try:
        named = what_differs(bundle)
    finally:
        path.write_bytes(good)
    assert any(path.name in name for name in named), named


def what_differs(bundle: Path) -> list[str]:
    """Name the files; damage that leaves no JSON in bundle.json raises instead."""
    try:
        return [str(one) for one in verify_bundle(bundle).differences]
    except InputError as error:
        return [str(error)]


def test_missing_short_and_extra_files_are_named(bundle: Path) -> None:
    shard = next(path for path in files_of(bundle) if path.suffix == ".ds")
    good = shard.read_bytes()
    extra = bundle / "plan" / "other.json"
    try:
        shard.write_bytes(good[:-2])
        extra.write_text("{}", "utf-8")
        kinds = {one.kind: str(one) for one in verify_bundle(bundle).differences}
        assert set(kinds) == {"size", "extra"}
        assert f"expected {len(good):,} bytes, found {len(good) - 2:,} bytes" in kinds["size"]
        shard.unlink()
        assert [one.kind for one in verify_bundle(bundle).differences] == ["extra", "missing"]
    finally:
        shard.write_bytes(good)
        extra.unlink()


def test_root_points_to_the_shards_of_another_machine(bundle: Path, tmp_path: Path) -> None:
    there = Path(shutil.copytree(bundle, tmp_path / "somewhere" / "bundle"))
    report = verify_bundle(there)
    assert {one.kind for one in report.differences} == {"missing"}
    assert len(report.differences) == 6
    assert verify_bundle(there, bundle.parent.parent).ok


def test_a_folder_that_is_no_bundle_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make handoff"):
        verify_bundle(tmp_path)
