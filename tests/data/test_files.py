"""Files are whole or absent, whatever happens in between."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smoldata.errors import BusyError, SmolError, StorageError
from smoldata.files import (
    atomic_path,
    code_digest,
    digest_values,
    remove_leftovers,
    sha256,
    single_writer,
    write_atomic,
    write_json,
    xxh3_128,
)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a" / "file.txt"
    write_atomic(target, "old")
    with pytest.raises(RuntimeError, match="halfway"), atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_text("new, and only hal")
        raise RuntimeError("halfway")
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_a_killed_write_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    code = (
        "import os, signal; from pathlib import Path; from smoldata.files import atomic_path\n"
        f"with atomic_path(Path({str(target)!r})) as t:\n"
        "    t.write_bytes(b'x' * 100_000)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    assert remove_leftovers(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_size_limit_is_a_clear_error(tmp_path: Path) -> None:
    """The kernel refuses in the middle of a write, as a full disk does."""
    target = tmp_path / "big.bin"
    code = (
        "import resource, signal; from pathlib import Path; from smoldata.files import write_atomic\n"
        "from smoldata.errors import StorageError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"try: write_atomic(Path({str(target)!r}), b'x' * 100_000)\n"
        "except StorageError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert str(target) in done.stdout
    assert "size limit" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_storage_errors_are_one_of_ours() -> None:
    assert issubclass(StorageError, SmolError)
    assert issubclass(StorageError, OSError)


def test_json_of_equal_values_is_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    write_json(tmp_path / "b.json", {"a": "é", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_hashes_are_the_published_ones(tmp_path: Path) -> None:
    """Vectors: FIPS 180-2 for sha256, the xxHash specification for the empty input."""
    (tmp_path / "abc").write_bytes(b"abc")
    (tmp_path / "empty").write_bytes(b"")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert xxh3_128(tmp_path / "empty") == "99aa06d3014798d86001c324468d497f"


def test_a_digest_of_values_ignores_key_order_but_not_values() -> None:
    assert digest_values({"a": 1, "b": 2}) == digest_values({"b": 2, "a": 1})
    assert digest_values({"a": 1}) != digest_values({"a": "1"})
    assert digest_values("ab", "c") != digest_values("a", "bc")


def test_the_code_digest_sees_an_edit_and_a_rename(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "a.py").write_text("x = 1\n")
    first = code_digest([package])
    (package / "a.py").write_text("x = 2\n")
    second = code_digest([package])
    (package / "a.py").rename(package / "b.py")
    assert len({first, second, code_digest([package])}) == 3


def test_a_file_in_the_way_of_a_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "build").write_text("")
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        write_atomic(tmp_path / "build" / "deep" / "plan.json", "{}")
    with (
        pytest.raises(StorageError, match="a file stands where a folder is needed"),
        single_writer(tmp_path / "build"),
    ):
        pass


def _hold(folder: str, ready: str) -> None:
    with single_writer(Path(folder)):
        Path(ready).touch()
        time.sleep(60)


def test_a_second_writer_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = tmp_path / "ready"
    holder = context.Process(target=_hold, args=(str(tmp_path / "build"), str(ready)), daemon=True)
    holder.start()
    while not ready.exists():
        time.sleep(0.02)
    with pytest.raises(BusyError, match=f"process {holder.pid}"), single_writer(tmp_path / "build"):
        pass
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with single_writer(tmp_path / "build"):
        pass
