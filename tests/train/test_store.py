"""Shards from a remote store: the same batches, each shard once and ahead of need, checked on arrival."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from smoldata.errors import InputError, IntegrityError, StorageError
from smoltrain import store
from smoltrain.bundle import last_steps, open_bundle
from smoltrain.loader import open_loader
from smoltrain.store import RemoteStore

if TYPE_CHECKING:
    from tests.conftest import SmallHouse

    from smoltrain.loader import Loader

URL = "memory://bucket/run"


@pytest.fixture
def remote(small_house: "SmallHouse") -> Iterator[fsspec.AbstractFileSystem]:
    """Copy the shards into fsspec's store in memory."""
    memory = fsspec.filesystem("memory")
    memory.put(str(small_house.build / "tokens"), "/bucket/run/tokens", recursive=True)
    yield memory
    memory.rm("/bucket", recursive=True)


def test_batches_are_those_of_local_files(
    small_house: "SmallHouse", remote: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    local = open_loader(small_house.bundle, start_step=7)
    far = open_loader(small_house.bundle, start_step=7, root=URL, cache=tmp_path)
    for here, there in zip(local, far, strict=True):
        assert (here.ids == there.ids).all()
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_what_the_next_steps_open_is_fetched_ahead_and_no_more(
    small_house: "SmallHouse", remote: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    bundle = open_bundle(small_house.bundle)
    table = pq.read_table(small_house.bundle / "shards.parquet").to_pylist()
    dates = sorted(row["first_step"] for row in table if row["first_step"] is not None)
    ahead = dates[len(dates) // 2]
    ahead_of_need = RemoteStore(bundle, URL, tmp_path, lookahead_steps=ahead + 1)
    ahead_of_need.prepare(0, [])
    ahead_of_need._pool.shutdown()
    seen = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.ds")}
    opened = [row for row in table if row["first_step"] is not None]
    due = {row["path"].removeprefix("../../") for row in opened if row["first_step"] <= ahead}
    assert seen == due
    assert len(seen) < len(table)


def test_a_shard_is_copied_once(
    small_house: "SmallHouse", remote: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    first = open_loader(small_house.bundle, root=URL, cache=tmp_path).batch(0)
    remote.rm("/bucket", recursive=True)
    again = open_loader(small_house.bundle, root=URL, cache=tmp_path)
    again._store._lookahead = 0
    assert (again.batch(0).ids == first.ids).all()
    remote.mkdir("/bucket")


def test_a_changed_shard_is_refused_and_not_kept(
    small_house: "SmallHouse", remote: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    loader = open_loader(small_house.bundle, root=URL, cache=tmp_path)
    places = loader.places(0)
    row = loader.bundle.shards.row(int(places.source[0]), int(places.shard[0]))
    name = loader._store.path(row).relative_to(tmp_path).as_posix()
    data = bytearray(remote.cat(f"/bucket/run/{name}"))
    data[100] ^= 1
    remote.pipe(f"/bucket/run/{name}", bytes(data))
    with pytest.raises(IntegrityError, match=rf"{URL}/{name}: .* the bundle says .* copy it there again"):
        loader.batch(0)
    assert not (tmp_path / name).exists()


def test_a_missing_shard_is_named(
    small_house: "SmallHouse", remote: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    remote.rm("/bucket/run/tokens/trial/idlelib", recursive=True)
    with pytest.raises(IntegrityError, match=r"idlelib/.*\.ds is missing"):
        list(open_loader(small_house.bundle, root=URL, cache=tmp_path))


@pytest.fixture
def counted(remote: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by every file that is copied out of the store."""
    copied: list[str] = []
    plain = type(remote).get_file

    def get_file(self: fsspec.AbstractFileSystem, there: str, here: str, **options: object) -> None:
        copied.append(there)
        plain(self, there, here, **options)

    monkeypatch.setattr(type(remote), "get_file", get_file)
    return copied


def test_the_last_step_of_a_shard_is_the_last_that_reads_it(small_house: "SmallHouse") -> None:
    bundle = open_bundle(small_house.bundle)
    places = bundle.places(np.arange(bundle.plan.windows))
    wanted = np.full(len(bundle.shards.bytes), -1)
    rows = bundle.shards.first_row[places.source] + places.shard
    np.maximum.at(wanted, rows, places.index // bundle.batch_windows)
    assert np.array_equal(last_steps(bundle), wanted)


def test_a_bounded_cache_removes_what_is_read_no_more_and_fetches_nothing_twice(
    small_house: "SmallHouse", counted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BEHIND_STEPS", 0)
    bundle = open_bundle(small_house.bundle)
    first = pq.read_table(small_house.bundle / "shards.parquet")["first_step"].fill_null(-1).to_numpy()
    last = last_steps(bundle)
    steps = range(bundle.steps)
    sizes = bundle.shards.bytes
    most = max(int(sizes[(first >= 0) & (first <= step) & (last >= step)].sum()) for step in steps)
    assert most < int(sizes[first >= 0].sum()), "there is something to remove"
    local = open_loader(small_house.bundle)
    far = open_loader(small_house.bundle, root=URL, cache=tmp_path, cache_bytes=most)
    for step in steps:
        assert (far.batch(step).ids == local.batch(step).ids).all()
        assert sum(path.stat().st_size for path in tmp_path.rglob("*.ds")) <= most
    assert len(counted) == len(set(counted)) == int((first >= 0).sum())
    # From the start again: what was removed is fetched again.
    assert (far.batch(0).ids == local.batch(0).ids).all()


def test_a_bound_that_is_too_small_is_told_once_and_the_run_goes_on(
    small_house: "SmallHouse", counted: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far = open_loader(small_house.bundle, root=URL, cache=tmp_path, cache_bytes=1)
    for here, there in zip(open_loader(small_house.bundle), far, strict=True):
        assert (here.ids == there.ids).all()
    assert capsys.readouterr().err.count("that the cache was given; it grows") == 1
    assert len(counted) == len(set(counted))


def test_what_a_process_ahead_has_removed_is_fetched_again(
    small_house: "SmallHouse", counted: list[str], tmp_path: Path
) -> None:
    far = open_loader(small_house.bundle, root=URL, cache=tmp_path, cache_bytes=10**9)
    wanted = far.batch(0).ids.copy()
    for future in far._store._fetched.values():
        future.result()
    for path in tmp_path.rglob("*.ds"):
        path.unlink()
    far._pool._open.clear()  # as if its maps had been closed for others
    before = len(counted)
    assert (far.batch(0).ids == wanted).all()
    assert len(counted) > before


class Broken:
    """A store whose connection breaks so many times; everything else is the store's own."""

    def __init__(self, store: fsspec.AbstractFileSystem, error: Exception, times: int) -> None:
        self._store, self._error, self._left = store, error, times

    def get_file(self, there: str, here: str) -> None:
        """Break off in the middle, or copy."""
        if self._left:
            self._left -= 1
            Path(here).write_bytes(b"half")
            raise self._error
        self._store.get_file(there, here)


def test_a_broken_connection_is_tried_again_and_a_store_that_is_gone_is_named(
    small_house: "SmallHouse",
    remote: fsspec.AbstractFileSystem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "WAITS", (0.0, 0.0))
    first = open_loader(small_house.bundle).batch(0)
    opened = []

    def broken(error: Exception, times: int, cache: str) -> "Loader":
        loader = open_loader(small_house.bundle, root=URL, cache=tmp_path / cache)
        loader._store._system = Broken(remote, error, times)
        loader._store._lookahead = 0
        opened.append(loader)
        return loader

    assert (broken(ConnectionResetError("reset"), 2, "twice").batch(0).ids == first.ids).all()
    with pytest.raises(StorageError, match=r"cannot be fetched, 3 attempts \(TimeoutError: slow\)"):
        broken(TimeoutError("slow"), 1_000, "gone").batch(0)
    with pytest.raises(StorageError, match="disk is full"):  # at once: waiting makes no room
        broken(OSError(errno.ENOSPC, "no space"), 1, "full").batch(0)
    for loader in opened:  # what was under way is finished
        loader._store.close()
    assert not list((tmp_path / "gone").rglob("*.ds"))
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_a_remote_root_needs_a_cache(small_house: "SmallHouse") -> None:
    with pytest.raises(InputError, match="give it as `cache`"):
        open_loader(small_house.bundle, root=URL)


def test_an_unknown_protocol_is_an_input_error(small_house: "SmallHouse", tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot open nowhere://x"):
        open_loader(small_house.bundle, root="nowhere://x", cache=tmp_path)


@pytest.mark.system
def test_shards_come_from_an_s3_server(
    small_house: "SmallHouse", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole stage over HTTP from a server that speaks S3, through s3fs as a user would name it."""
    moto = pytest.importorskip("moto.server", reason="needs the cluster group: make test-system")
    s3fs = pytest.importorskip("s3fs", reason="needs the cluster group: make test-system")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
            monkeypatch.setenv(f"AWS_{name}", "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        s3fs.S3FileSystem.clear_instance_cache()
        store = s3fs.S3FileSystem()
        store.mkdir("bucket")
        store.put(str(small_house.build / "tokens"), "bucket/run/tokens", recursive=True)
        local = open_loader(small_house.bundle)
        far = open_loader(small_house.bundle, root="s3://bucket/run", cache=tmp_path)
        assert all((here.ids == there.ids).all() for here, there in zip(local, far, strict=True))
        store.rm("bucket/run/tokens", recursive=True)
        with pytest.raises(IntegrityError, match=r"s3://bucket/run/.*\.ds is missing"):
            open_loader(small_house.bundle, root="s3://bucket/run", cache=tmp_path / "other").batch(0)
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()
