"""The sample step: packages are data, verified, never run; sources share no text; the same bytes."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.data.helpers import make_sdist, own_source, real_texts, write_registry

import smoldata
from smoldata.errors import InputError, IntegrityError, SourceError
from smoldata.registry import Registry, load_registry
from smoldata.sample.archive import read_archive
from smoldata.sample.build import build_sample, claims_on, winner
from smoldata.sample.lock import default_lock, read_lock

FILES = {f"pkg/module_{number}.py": text.encode() for number, text in enumerate(real_texts(40))}


def two_sources() -> dict[str, object]:
    """Return registry entries of two sources that claim the same files."""
    take = [{"package": "trial", "files": ["pkg/**/*.py"]}]
    entry = own_source(Path("unused"), sample=take) | {"location": None}
    other = {
        "hub": {"dataset": "none/none", "files": ["*"], "format": "jsonl.zst"},
        "columns": {"text": ["content"], "id": "blob_id", "path": "path", "scores": ["score"]},
    }
    return {"first": entry, "second": entry | other}


@pytest.fixture
def trial(tmp_path: Path) -> tuple[Registry, Path, Path]:
    """Return a registry of two sources, a lock and a build folder with one planted package."""
    return plant(tmp_path, FILES)


def plant(folder: Path, files: dict[str, bytes]) -> tuple[Registry, Path, Path]:
    packages = folder / "build" / "sample" / "packages"
    packages.mkdir(parents=True)
    sdist = packages / "trial-1.0.tar.gz"
    digest = make_sdist(sdist, files)
    lock = folder / "trial.lock"
    size = sdist.stat().st_size
    lock.write_text(f"# comment\ntrial==1.0 trial-1.0.tar.gz sha256:{digest} {size}\n", encoding="utf-8")
    known = only(two_sources(), folder)
    return known, lock, folder / "build"


def only(sources: dict[str, object], folder: Path) -> Registry:
    """Return a registry of these sources alone."""
    path = write_registry(folder / "own.yaml", sources, {"trial": {"licence": "MIT"}})
    registry = load_registry(path)
    chosen = {name: registry.sources[name] for name in sources}
    return registry.model_copy(update={"sources": chosen})


def raw_files(build: Path) -> dict[str, bytes]:
    """Return every file of the raw folder but the lock."""
    raw = build / "sample" / "raw"
    return {
        path.relative_to(raw).as_posix(): path.read_bytes()
        for path in sorted(raw.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def texts_of(build: Path, source: str, column: str) -> set[str]:
    manifest = json.loads((build / "sample" / "raw" / source / "manifest.json").read_bytes())
    paths = [build / "sample" / "raw" / source / file["name"] for file in manifest["files"]]
    return {document.text for document in smoldata.read_documents(paths, text_column=column)}


def test_every_file_goes_to_one_source(trial: tuple[Registry, Path, Path]) -> None:
    registry, lock, build = trial
    assert set(build_sample(registry, build, lock=lock)) == {"first", "second"}
    first, second = texts_of(build, "first", "text"), texts_of(build, "second", "content")
    assert first
    assert second
    assert not first & second
    assert first | second == {data.decode() for data in FILES.values()}


def test_rows_have_the_columns_of_the_hub(trial: tuple[Registry, Path, Path]) -> None:
    registry, lock, build = trial
    build_sample(registry, build, lock=lock)
    paths = list((build / "sample" / "raw" / "second").glob("*.jsonl.zst"))
    document = next(iter(smoldata.read_documents(paths, text_column="content")))
    assert set(document.columns) == {"blob_id", "path", "score"}
    assert len(str(document.columns["blob_id"])) == 40
    assert str(document.columns["path"]).startswith("trial-1.0/pkg/module_")


def test_the_same_bytes_whatever_the_workers(trial: tuple[Registry, Path, Path], tmp_path: Path) -> None:
    registry, lock, build = trial
    build_sample(registry, build, lock=lock, workers=2)
    (tmp_path / "again").mkdir()
    _, lock_again, build_again = plant(tmp_path / "again", FILES)
    build_sample(registry, build_again, lock=lock, workers=1)
    assert raw_files(build) == raw_files(build_again)
    assert lock_again.read_bytes()


def test_a_second_run_writes_nothing(trial: tuple[Registry, Path, Path]) -> None:
    registry, lock, build = trial
    build_sample(registry, build, lock=lock)
    paths = [
        path for path in (build / "sample" / "raw").rglob("*") if path.is_file() and path.name != ".lock"
    ]
    before = {path: path.stat().st_mtime_ns for path in paths}
    build_sample(registry, build, lock=lock)
    assert {path: path.stat().st_mtime_ns for path in paths} == before


def test_only_the_packages_that_are_needed_are_fetched(
    trial: tuple[Registry, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, lock, build = trial
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    far = own_source(Path("unused"), sample=[{"package": "far", "files": ["*"]}]) | {"location": None}
    lock.write_text(
        lock.read_text(encoding="utf-8") + f"far==1 far-1.tar.gz sha256:{'0' * 64} 9\n", encoding="utf-8"
    )
    registry = only(two_sources() | {"far": far}, tmp_path)
    assert set(build_sample(registry, build, names=["first"], lock=lock)) == {"first"}
    with pytest.raises(SourceError, match=r"cannot fetch far-1.tar.gz"):
        build_sample(registry, build, lock=lock)


def test_a_lost_or_stray_file_is_repaired(trial: tuple[Registry, Path, Path]) -> None:
    registry, lock, build = trial
    build_sample(registry, build, lock=lock)
    whole = raw_files(build)
    next((build / "sample" / "raw" / "first").glob("*.parquet")).unlink()
    (build / "sample" / "raw" / "second" / "stray.parquet").write_bytes(b"x")
    build_sample(registry, build, lock=lock)
    assert raw_files(build) == whole


def test_a_package_that_leaves_the_registry_leaves_no_text(trial: tuple[Registry, Path, Path]) -> None:
    registry, lock, build = trial
    build_sample(registry, build, lock=lock)
    less = registry.model_copy(update={"sources": {"first": registry.sources["first"]}})
    assert set(build_sample(less, build, lock=lock)) == {"first"}
    assert not (build / "sample" / "raw" / "second").exists()
    assert texts_of(build, "first", "text") == {data.decode() for data in FILES.values()}


def test_changed_bytes_are_refused(trial: tuple[Registry, Path, Path]) -> None:
    registry, lock, build = trial
    path = build / "sample" / "packages" / "trial-1.0.tar.gz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"trial-1.0.tar.gz: sha256 is"):
        build_sample(registry, build, lock=lock)
    assert not list((build / "sample" / "raw").rglob("*.parquet"))


def test_a_package_that_no_index_has_is_named(
    trial: tuple[Registry, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, lock, build = trial
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (build / "sample" / "packages" / "trial-1.0.tar.gz").unlink()
    with pytest.raises(SourceError, match=r"cannot fetch trial-1.0.tar.gz.*check pip's index settings"):
        build_sample(registry, build, lock=lock)


def test_pip_fetches_from_where_the_user_says_without_building(
    trial: tuple[Registry, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An sdist whose build code would leave a mark is fetched by pip's settings; no mark is made."""
    _, _, build = trial
    mark = tmp_path / "built"
    setup = f"open({str(mark)!r}, 'w').close()\n".encode()
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    sdist = wheels / "trial-1.0.tar.gz"
    digest = make_sdist(sdist, FILES | {"setup.py": setup, "PKG-INFO": b"Name: trial\nVersion: 1.0\n"})
    lock = tmp_path / "far.lock"
    lock.write_text(f"trial==1.0 trial-1.0.tar.gz sha256:{digest} {sdist.stat().st_size}\n", encoding="utf-8")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    (build / "sample" / "packages" / "trial-1.0.tar.gz").unlink()
    build_sample(only(two_sources(), tmp_path), build, lock=lock)
    assert texts_of(build, "first", "text")
    assert not mark.exists()


def test_members_that_point_out_of_the_package_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "evil-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("evil-1.0/../../out.py", "/absolute.py", "evil-1.0/good.py", "evil-1.0/a/../../b.py"):
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo(f"evil-1.0/link{kind.decode()}.py")
            link.type, link.linkname = kind, "../../secret"
            archive.addfile(link)
    # An absolute name loses its first folder, as every member does: it stays inside.
    assert list(read_archive(path, lambda _: True)) == [("absolute.py", b"x"), ("good.py", b"x")]


def test_wheels_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b.py", "x = 1\n")
        archive.writestr("../c.py", "x = 2\n")
    assert list(read_archive(path, lambda _: True)) == [("a/b.py", b"x = 1\n")]


def test_a_cut_archive_is_an_integrity_error(tmp_path: Path) -> None:
    path = tmp_path / "cut-1.0.tar.gz"
    make_sdist(path, FILES)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(IntegrityError, match=r"cut-1.0.tar.gz cannot be read"):
        list(read_archive(path, lambda _: True))


def test_the_split_is_fair_and_stable(shipped: Registry) -> None:
    claims = [
        claim
        for claim in claims_on("celery", shipped)
        if claim.source.name in {"stack-v2-Python", "stack-edu-Python"}
    ]
    winners = [winner("celery", f"celery/m{number}.py", claims).source.name for number in range(1000)]
    assert 400 < winners.count("stack-edu-Python") < 600
    assert winners[:200] == [winner("celery", f"celery/m{n}.py", claims).source.name for n in range(200)]


@pytest.mark.parametrize(
    "line",
    [
        "trial trial.tar.gz sha256:" + "0" * 64 + " 1",
        "trial==1 trial.tar.gz sha256:00 1",
        "trial==1 ../trial.tar.gz sha256:" + "0" * 64 + " 1",
        "trial==1 trial.tar.gz sha256:" + "0" * 64 + " many",
        "trial==1 trial.tar.gz",
    ],
)
def test_a_lock_line_that_does_not_fit_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "bad.lock").write_text(f"# first\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"bad\.lock:2: want"):
        read_lock(tmp_path / "bad.lock")


def test_the_shipped_lock_is_small_and_names_no_host() -> None:
    pins = read_lock()
    assert sum(pin.bytes for pin in pins) < 140e6
    assert "://" not in default_lock().read_text(encoding="utf-8")


def test_a_killed_run_goes_on_to_the_same_bytes(trial: tuple[Registry, Path, Path], tmp_path: Path) -> None:
    registry, lock, build = trial
    build_sample(registry, build, lock=lock)
    whole = raw_files(build)
    (tmp_path / "again").mkdir()
    _, _, killed = plant(tmp_path / "again", FILES)
    script = tmp_path / "kill.py"
    script.write_text(
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "import smoldata.sample.build as step\n"
        "from smoldata.registry import load_registry\n"
        "def die(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "step.write_json = die\n"
        "known = load_registry(Path(sys.argv[1]))\n"
        "known = known.model_copy(update={'sources': {n: known.sources[n] for n in ('first', 'second')}})\n"
        "step.build_sample(known, Path(sys.argv[2]), lock=Path(sys.argv[3]), workers=1)\n",
        encoding="utf-8",
    )
    command = [sys.executable, str(script), str(tmp_path / "own.yaml"), str(killed), str(lock)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -9
    assert list((killed / "sample" / "raw").rglob("*.parquet"))
    build_sample(registry, killed, lock=lock)
    assert raw_files(killed) == whole
