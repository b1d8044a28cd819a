"""The locks agree with each other, and each group runs with nothing but what its locks bring."""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTALLED = ("core", "curate", "languages", "dev", "train", "eval", "cluster")
NEEDS = {"train": ("core", "train"), "eval": ("core", "train", "eval")}
"""What `make setup-<group>` installs, besides torch with what torch needs."""
STARTS = {
    "train": "import smoltrain.train; from trl import SFTTrainer",
    "eval": "import smoleval.pipeline, smoleval.heldout",
}
_HIDING = """
import importlib.metadata as metadata, re, sys
allowed = set(sys.argv[1].split())
wanted = ["torch"]  # and, by name, what it needs
while wanted:
    name = re.sub("[-_.]+", "-", wanted.pop()).lower()
    if name not in allowed or name == "torch":
        allowed.add(name)
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        wanted += [re.match("[A-Za-z0-9._-]+", one)[0] for one in needed if "extra ==" not in one]
homes = metadata.packages_distributions()
hidden_packages = {top for top, owners in homes.items()
          if not any(re.sub("[-_.]+", "-", owner).lower() in allowed for owner in owners)}
assert {"pytest", "s3fs"} <= hidden_packages, hidden_packages
from importlib.machinery import PathFinder
class Shown:
    find_distributions = PathFinder.find_distributions
    @staticmethod
    def find_spec(name, path=None, target=None):
        hidden = name.partition(".")[0] in hidden_packages
        return None if hidden else PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Shown
"""


def versions(lock: str) -> dict[str, str]:
    text = (ROOT / "locks" / f"{lock}.lock").read_text("utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", text, re.MULTILINE))


def test_a_package_has_one_version_in_all_locks() -> None:
    """They are installed over one another: the last would win."""
    seen: dict[str, set[str]] = defaultdict(set)
    for lock in INSTALLED:
        for name, version in versions(lock).items():
            seen[name].add(version)
    assert len(seen) > 200
    assert {name: found for name, found in seen.items() if len(found) > 1} == {}


@pytest.mark.parametrize("group", NEEDS)
def test_a_group_starts_without_the_packages_of_other_groups(group: str) -> None:
    allowed = {"smollm3-data-engine", *(name for lock in NEEDS[group] for name in versions(lock))}
    done = subprocess.run(
        [sys.executable, "-c", _HIDING + STARTS[group], " ".join(sorted(allowed))],
        capture_output=True, text=True, check=False, timeout=300, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
