"""The layout rules of the house: what keeps `tokenize/` from shadowing the standard library, and more."""

import ast
import importlib.util
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {
    "data": "smoldata",
    "tokenize": "smoltok",
    "mixtures": "smolmix",
    "train": "smoltrain",
    "eval": "smoleval",
}
ORDER = list(ROOMS.values())


def _tracked() -> list[Path]:
    """Return the files git knows or would know; in an unpacked archive, all files."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout: the list of project files is not known here")
    return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).is_file()]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_holds_no_python_outside_its_package(room: str) -> None:
    assert not (ROOT / room / "__init__.py").exists()
    assert list((ROOT / room).glob("*.py")) == []


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_else_in_a_room_can_be_imported(room: str) -> None:
    importable = {
        folder.name
        for folder in (ROOT / room).iterdir()
        if folder.is_dir() and folder.name.isidentifier() and any(folder.rglob("*.py"))
    }
    assert importable == {ROOMS[room]}


def test_tokenize_is_still_the_standard_library() -> None:
    code = "import tokenize, sys; print(tokenize.__file__)"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert Path(seen.stdout.strip()).parent == Path(sysconfig.get_path("stdlib"))


def _imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize(("room", "package"), ROOMS.items())
def test_imports_go_to_the_left_only(room: str, package: str) -> None:
    to_the_right = set(ORDER[ORDER.index(package) + 1 :])
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / room).rglob("*.py")
        for name in _imported(path) & to_the_right
    }
    assert wrong == set()


@pytest.mark.parametrize("package", ORDER)
def test_importing_a_package_is_cheap(package: str) -> None:
    heavy = {"numpy", "polars", "duckdb", "pyarrow", "pydantic", "torch", "transformers", "datatrove", "rich"}
    code = f"import sys, {package}; print(*sorted({heavy!r} & set(sys.modules)))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert seen.stdout.split() == []


def test_public_names_resolve() -> None:
    for package in ORDER:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", []):
            assert getattr(module, name) is not None, f"{package}.{name}"


def test_the_tools_name_the_same_five_folders() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tools = settings["tool"]
    assert tools["hatch"]["build"]["dev-mode-dirs"] == list(ROOMS)
    assert tools["pytest"]["ini_options"]["pythonpath"] == list(ROOMS)
    assert tools["mypy"]["mypy_path"].split(":") == list(ROOMS)
    assert tools["pyright"]["extraPaths"] == list(ROOMS)
    assert tools["ruff"]["src"] == list(ROOMS)


def test_files_stay_short() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in _tracked()
        if path.suffix == ".py" and (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def test_no_file_names_a_machine_path() -> None:
    machine = re.compile(r"(?<![\w.])/(?:root|home/\w+|work|Users/\w+)/[\w.-]+")
    named = {
        f"{path.relative_to(ROOT)}:{number}"
        for path in _tracked()
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".lock", ".sh", ".sql", ".html", ".cff", ""}
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if machine.search(line)
    }
    assert named == set()
