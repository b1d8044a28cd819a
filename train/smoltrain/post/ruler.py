"""A checkpoint -> its RULER scores at one length, by `smoleval ruler`, run as a program of its own.

Training knows nothing of evaluation: what it says comes back as JSON. Without smoleval there is nothing, and
the loss on long rows (:mod:`smoltrain.post.measure`) stands alone. Prompts are built once a run, raw, without
the chat template, so that all checkpoints answer the same. Cost: of the program, some 20 s a checkpoint to
start; then generation.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from smoldata.errors import SmolError

_MAIN = "from smoleval.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Ruler:
    """Which prompts are answered."""

    length: str
    """Tokens, such as ``32k``; at least 1k."""
    count: int = 20
    """Prompts a task; RULER has 500."""
    tasks: str = "all"


def is_installed() -> bool:
    """Tell whether smoleval is there to be asked."""
    return find_spec("smoleval") is not None


def build_prompts(ruler: Ruler, build: Path, profile: str, tokenizer: Path, out: Path) -> Path:
    """Write the prompts under ``out``; return their folder. Raises :class:`SmolError` with what it says."""
    words = ["--length", ruler.length, "--tasks", ruler.tasks, "--count", str(ruler.count)]
    words += ["--tokenizer", str(tokenizer / "tokenizer.json"), "--build", str(build), "--profile", profile]
    _asked(["build", *words, "--out", str(out)])
    manifests = sorted(out.glob("*/manifest.json"))
    if not manifests:
        raise SmolError(f"smoleval ruler build wrote no prompts into {out}")
    return manifests[0].parent


def ruler_scores(checkpoint: Path, prompts: Path, tokenizer: Path, out: Path) -> dict[str, Any]:
    """Return a checkpoint's score of each task in [0, 1], and their ``mean``."""
    words = [str(checkpoint), "--data", str(prompts), "--tokenizer", str(tokenizer / "tokenizer.json")]
    rows = json.loads(_asked(["run", *words, "--out", str(out), "--json"]))
    # The mean has no subset, or says of how many tasks it is: "(2 of 13)".
    return {row["subset"].partition("(")[0] or "mean": row["value"] for row in rows}


def _asked(words: list[str]) -> str:
    """Run smoleval; return what it prints."""
    program = [sys.executable, "-c", _MAIN, "ruler", *words]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SmolError(f"smoleval ruler ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout
