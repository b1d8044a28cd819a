"""A reduced main job on real text, run as a user runs it: a recipe and a registry of one's own."""

import json
import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

RECIPE = """\
format_version: 1
name: trial
description: A reduced mixture of the standard library's own text.
registry: sources.yaml
sequence_length: 128
batch_windows: 4
validation: 1/10
budget: 50 steps
weights:
  web: {topics: 0.55}
  code: {stdlib: 0.333}
  math: {numbers: 0.117}
"""
REGISTRY = """\
format_version: 1
sources:
  topics: {domain: web, group: web/english, columns: {text: [text], id: id}, location: {url: topics}}
  stdlib: {kind: code, domain: code, group: code, columns: {text: [text], id: id}, location: {url: stdlib}}
  numbers: {domain: math, group: math, columns: {text: [text], id: id}, location: {url: numbers}}
"""
MATHEMATICS = ("fractions.py", "statistics.py", "decimal.py", "_pydecimal.py", "random.py", "heapq.py")


def lay_out(folder: Path) -> Path:
    """Write recipe, registry and three folders of real text; return the recipe's path."""
    from pydoc_data.topics import topics

    library = Path(sysconfig.get_path("stdlib"))
    code = [path for path in sorted(library.glob("*.py")) if path.name not in MATHEMATICS][:60]
    _write(folder / "topics", [(name, text) for name, text in sorted(topics.items()) if len(text) > 200])
    _write(folder / "stdlib", [(path.name, path.read_text(encoding="utf-8")) for path in code])
    _write(folder / "numbers", [(name, (library / name).read_text(encoding="utf-8")) for name in MATHEMATICS])
    (folder / "sources.yaml").write_text(REGISTRY)
    recipe = folder / "trial.yaml"
    recipe.write_text(RECIPE)
    return recipe


def _write(folder: Path, documents: list[tuple[str, str]], files: int = 3) -> None:
    folder.mkdir(parents=True)
    for number in range(files):
        rows = [json.dumps({"id": name, "text": text}) for name, text in documents[number::files]]
        (folder / f"part-{number}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def command(folder: Path, *more: str) -> list[str]:
    """Return the command line that the Makefile runs for ``make mixture RECIPE=trial.yaml``."""
    options = ["--recipe", "trial.yaml", "--build", "build", "--profile", "sample"]
    return [sys.executable, "-m", "smolmix.quick", "build", *options, *more]


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the main job in ``folder`` and wait for it."""
    return subprocess.run(
        command(folder, *more), cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


def start(folder: Path) -> subprocess.Popen[str]:
    """Start the main job in ``folder``, in a process group of its own, and wait until it works there."""
    process = subprocess.Popen(
        command(folder),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lock = folder / "build" / ".lock"
    while process.poll() is None and not (lock.exists() and f"process {process.pid}" in lock.read_text()):
        time.sleep(0.02)
    return process


def environment() -> dict[str, str]:
    """Return an environment without colours, wide enough for the table."""
    return os.environ | {"NO_COLOR": "1", "COLUMNS": "200"}


def outputs(folder: Path) -> dict[str, bytes]:
    """Return every output file that must be the same whenever and however it was made."""
    build = folder / "build"
    kept = [*build.glob("*/documents/**/*"), *build.glob("*/tokens/**/*")]
    kept += [*build.glob("*/plans/**/*"), *build.glob("*/bundles/**/*"), build / "report.html"]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in kept
        if path.is_file() and not path.name.startswith(".")
    }
