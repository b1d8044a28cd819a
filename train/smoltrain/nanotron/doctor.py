"""Can nanotron run here, and with which loader? A checkout and a Python in, findings with what to do out.

The checkout's sources are compared with the pinned commit by one digest, git or not; its environment is
asked by :mod:`smoltrain.nanotron.probe`, a script that runs in nanotron's own Python. A finding is ``ok``,
``missing`` (a launch would fail) or ``note``. Cost: one start of nanotron, about 15 seconds.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from smoldata.errors import InputError
from smolmix.nanotron_schema import DATATROVE_COMMIT, NANOTRON_COMMIT
from smoltrain.nanotron import probe
from smoltrain.nanotron.commands import package_folders

SOURCES_SHA256 = "ac757f56db3261797948df4eff5bc54dbff6437729fe3bc956c2f5d370ca3f4d"
"""Of run_train.py and src/nanotron/**/*.py at the pinned commit, as :func:`sources_digest` takes it."""

_BLEND_FIX = (
    "where it crashes (exit code -11), two C++ libraries are loaded: start with "
    "LD_PRELOAD=$(g++ -print-file-name=libstdc++.so.6); or use our loader, which needs no extension"
)

State = Literal["ok", "missing", "note"]
Found = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    state: State
    seen: str
    fix: str = ""


def examine(checkout: Path, python: str, *, varlen: bool = False, blend: bool = False) -> list[Finding]:
    """Look at a checkout of nanotron and at the Python that is to run it.

    ``varlen``: with torch's attention kernels in place of flash-attn; ``blend``: compile its extension.

    Raises :class:`InputError` if the folder is no checkout or the Python does not start.
    """
    if not (checkout / "src" / "nanotron" / "trainer.py").is_file():
        raise InputError(
            f"{checkout} is no checkout of nanotron: it has no src/nanotron/trainer.py; clone "
            f"huggingface/nanotron, branch smollm3, commit {NANOTRON_COMMIT}"
        )
    found = ask(checkout, python, varlen=varlen, blend=blend)
    return [
        _commit(checkout),
        *_environment(found),
        *_imports(found),
        *_stock_loader(found),
        *_our_loader(found),
        *_attention(found),
    ]


def ask(checkout: Path, python: str, *, varlen: bool = False, blend: bool = False) -> dict[str, Any]:
    """Run the probe in nanotron's Python and return what it prints."""
    words = [*(["--varlen"] if varlen else []), *(["--blend"] if blend else [])]
    command = [python, str(probe.__file__), str(checkout.resolve()), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_path_with_ours())
    except OSError as error:
        raise InputError(f"{python} does not start: {error}; name nanotron's Python with --python") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise InputError(
            f"{python} ended with {done.returncode} while it was looked at: {done.stderr.strip()[-400:]}; "
            "name nanotron's Python with --python"
        )
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _path_with_ours() -> dict[str, str]:
    """Return the environment with our packages at the end of Python's path: the stand-in comes from them."""
    paths = [os.environ.get("PYTHONPATH", ""), *package_folders()]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def sources_digest(checkout: Path) -> str:
    """Return one sha256 over the names, sizes and bytes of nanotron's Python sources, in order of names."""
    files = [*(checkout / "src" / "nanotron").rglob("*.py"), checkout / "run_train.py"]
    digest = hashlib.sha256()
    for name, path in sorted(
        (path.relative_to(checkout).as_posix(), path) for path in files if path.is_file()
    ):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _commit(checkout: Path) -> Finding:
    if sources_digest(checkout) == SOURCES_SHA256:
        return Finding("nanotron's sources", "ok", f"those of commit {NANOTRON_COMMIT[:12]}")
    done = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    seen = f"commit {done.stdout.strip()}" if done.returncode == 0 else "no git there"
    fix = f"git -C {checkout} checkout {NANOTRON_COMMIT} (branch smollm3)"
    return Finding("nanotron's sources", "note", f"other than the pinned ones ({seen})", fix)


def _environment(found: Found) -> Iterator[Finding]:
    torch = found["torch"]
    if torch["error"]:
        yield Finding("torch", "missing", torch["error"], "install torch in nanotron's environment")
        return
    device = torch["device"] or "no CUDA device"
    state: State = "ok" if torch["cuda"] else "missing"
    fix = "" if torch["cuda"] else "nanotron trains on CUDA devices only: run this on a node that has them"
    yield Finding("torch", state, f"{torch['version']}, Python {found['python']}, {device}", fix)


def _imports(found: Found) -> Iterator[Finding]:
    for name in probe.LIBRARIES:
        one = found["libraries"][name]
        if one["error"] and name != "flash_attn":
            yield Finding(
                name, "missing", one["error"], f"pip install {name.split('.')[0]} in nanotron's environment"
            )
    for name, one in found["nanotron"].items():
        if name != "nanotron.data.tokenized_bytes":
            fix = "install what the message names, in nanotron's environment" if one["error"] else ""
            yield Finding(f"import {name}", "missing" if one["error"] else "ok", one["error"] or "works", fix)


def _stock_loader(found: Found) -> Iterator[Finding]:
    """Look at what run_train.py needs on top: its own loader, datatrove's class, the extension."""
    about = "stock loader"
    loader = found["nanotron"]["nanotron.data.tokenized_bytes"]
    if loader["error"]:
        yield Finding(f"{about}: import", "missing", loader["error"], "install what the message names")
    trove = found["datatrove"]
    pinned = f"install datatrove, branch nouamane/avoid-s3, commit {DATATROVE_COMMIT}, with --no-deps"
    if trove["error"]:
        yield Finding(f"{about}: datatrove", "missing", trove["error"], pinned)
    elif trove["lacking"]:
        lacking = f"its folder dataset does not take {', '.join(trove['lacking'])}"
        yield Finding(f"{about}: datatrove", "missing", lacking, pinned)
    else:
        yield Finding(f"{about}: datatrove", "ok", "its folder dataset takes what nanotron passes")
    absent = [name for name, seen in found["tools"].items() if not seen]
    state: State = "missing" if absent else "ok"
    seen = f"{', '.join(absent)} not there" if absent else "make, g++, pybind11, python3-config are there"
    fix = (
        "install them for the python3 of the path: nanotron compiles its extension when training starts"
        if absent
        else ""
    )
    yield Finding(f"{about}: compiler", state, seen, fix)
    if "blend" in found:
        broken = found["blend"]
        fix = _BLEND_FIX if broken else ""
        yield Finding(
            f"{about}: blending", "missing" if broken else "ok", broken or "7 and 3 of 10, as asked", fix
        )


def _our_loader(found: Found) -> Iterator[Finding]:
    about = "our loader"
    absent = [name for name in probe.OURS if found["libraries"][name]["error"]]
    fix = f"pip install {' '.join(absent)} in nanotron's environment" if absent else ""
    seen = f"{', '.join(absent)} not there" if absent else f"{', '.join(probe.OURS)} are there"
    yield Finding(f"{about}: libraries", "missing" if absent else "ok", seen, fix)
    lacking = found["hooks"]
    fix = f"use nanotron at commit {NANOTRON_COMMIT}" if lacking else ""
    seen = f"there is no {', '.join(lacking)}" if lacking else "it takes a dataloader and has the hooks"
    yield Finding(f"{about}: trainer", "missing" if lacking else "ok", seen, fix)


def _attention(found: Found) -> Iterator[Finding]:
    flash, varlen = found["flash_attn"], found["torch"].get("varlen")
    way_out = "install flash-attn 2.6.3 (nanotron takes 2.5.0 to below 2.7.0)"
    if varlen:
        way_out += ", or run with `--attention varlen`: torch's own kernels, no compiler"
    if flash.get("standin"):
        yield Finding(
            "attention: flash-attn", "note", "torch's varlen kernels stand in for it", flash["error"]
        )
    elif flash["error"]:
        yield Finding("attention: flash-attn", "missing", flash["error"], way_out)
    elif not flash["fits"]:
        seen = f"{flash['version']} has another RotaryEmbedding than nanotron calls"
        yield Finding("attention: flash-attn", "missing", seen, way_out)
    else:
        yield Finding("attention: flash-attn", "ok", flash["version"])
    seen = "is there" if varlen else "not in this torch: 2.10 or newer has it"
    yield Finding("attention: torch's varlen", "ok" if varlen else "note", seen)
