"""A plan's order for another trainer: ``export(trainer, source, out)`` writes a folder that gives it.

``megatron`` and ``mds`` copy the windows, in order, into the trainer's own format. ``grain`` and
``torchtitan`` copy nothing: the folder says where the plan is, and :mod:`smolmix.adapters` reads it. Each
holds ``export.json`` with the digest (docs/order.md) that the trainer's stream must have, and a README, and
appears whole or not at all; the same inputs give the same bytes. Cost: one read of the stage, and one write.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from smoldata.console import progress
from smoldata.errors import InputError, IntegrityError, StorageError
from smoldata.files import write_atomic, write_json
from smolmix.bundle import whole_folder
from smolmix.export_mds import write_mds
from smolmix.export_megatron import write_megatron
from smolmix.export_text import readme
from smolmix.order_digest import Digester, OrderDigest, check_range
from smolmix.windows import Tokens, Windows

FORMAT_VERSION: Final = 1
_WRITERS: Final = {"megatron": write_megatron, "mds": write_mds}
TRAINERS: Final = ("grain", "torchtitan", *_WRITERS)


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that was written."""

    folder: Path
    trainer: str
    digest: OrderDigest
    bytes: int


def export(trainer: str, windows: Windows, out: Path, first: int = 0, end: int | None = None) -> Exported:
    """Write the windows ``first`` to ``end`` - 1 of a stage for a trainer; an earlier export is replaced.

    Raises:
        InputError: no such trainer or range, or ``out`` is a folder of something else.
        StorageError: the disk has not enough room.
        IntegrityError: a shard is missing, or not what was planned.
    """
    if trainer not in TRAINERS:
        raise InputError(f"{trainer!r} is not one of the trainers: {', '.join(TRAINERS)}")
    out = Path(out)
    first, end = check_range(windows.plan, first, end)
    if first == end:
        raise InputError(f"the range from {first:,} to {end:,} has no windows: nothing to export")
    _check_place(out)
    copies = trainer in _WRITERS
    if not copies and (first, end) != (0, len(windows)):
        raise InputError(
            f"an export to {trainer} copies nothing and gives the whole stage: drop --first, --end"
        )
    if copies:
        _check_room(out, (end - first) * windows.length * windows.dtype.itemsize)
    digester = Digester(first, end)
    with whole_folder(out) as folder:
        with progress(f"export to {trainer}", end - first) as advance:
            blocks = _digested(windows, digester, advance)
            if copies:
                _WRITERS[trainer](windows, blocks, folder)
            else:
                for _ in blocks:
                    pass
        digest = digester.digest()
        facts = _facts(trainer, windows, digest)
        facts["windows"] = None if copies else _relative(windows.folder, out)
        write_atomic(folder / "README.md", readme(facts))
        facts["files"] = [
            {"path": path.name, "bytes": path.stat().st_size} for path in sorted(folder.iterdir())
        ]
        write_json(folder / "export.json", facts)
        written = sum(path.stat().st_size for path in folder.iterdir())
    return Exported(out, trainer, digest, written)


def _digested(windows: Windows, digester: Digester, advance: Callable[[int, str], None]) -> Iterator[Tokens]:
    """Yield the windows in blocks, and take their digest on the way."""
    for _, samples, tokens in windows.blocks(digester.first, digester.end):
        digester.add_places(samples)
        digester.add_tokens(tokens)
        yield tokens
        advance(len(samples), "")


def _facts(trainer: str, windows: Windows, digest: OrderDigest) -> dict[str, Any]:
    plan = windows.plan
    return {
        "format_version": FORMAT_VERSION,
        "trainer": trainer,
        "stage": plan.name,
        "preset": plan.preset,
        "profile": plan.profile,
        "lock": plan.lock.hash,
        "sequence_length": plan.sequence_length,
        "batch_windows": plan.batch_windows,
        "token_dtype": windows.dtype.name,
        "tokenizer": asdict(plan.tokenizer),
        "digest": asdict(digest),
    }


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _check_place(out: Path) -> None:
    """Refuse to replace a folder that is not an export."""
    if out.exists() and not (out / "export.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an export; choose another --out, or remove it first")


def _check_room(out: Path, needed: int) -> None:
    there = next(one for one in [out.absolute(), *out.absolute().parents] if one.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise StorageError(
            f"cannot write {out}: the windows take {needed:,} bytes and {free:,} are free; free some space, "
            "choose another --out, or export a part with --first and --end"
        )


def read_export(folder: Path | str) -> dict[str, Any]:
    """Return what ``export.json`` says.

    Raises:
        InputError: there is none.
        IntegrityError: it is damaged or of a later format.
    """
    path = Path(folder) / "export.json"
    try:
        facts: dict[str, Any] = json.loads(path.read_text("utf-8"))
        version = facts["format_version"]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"{folder} is no export: it has no export.json; `smolmix export` makes one"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path} is damaged ({error!r}); export again") from error
    if version != FORMAT_VERSION:
        raise IntegrityError(f"{path} has format_version {version}, this program reads {FORMAT_VERSION}")
    return facts


def open_export(folder: Path | str, root: Path | str | None = None) -> Windows:
    """Open the windows behind an export that copied nothing (``grain``, ``torchtitan``).

    Raises:
        InputError: it is an export in the trainer's own format, or part of a stage.
        IntegrityError: the plan was made anew since.
    """
    facts = read_export(folder)
    if facts["windows"] is None:
        raise InputError(f"{folder} holds the windows in {facts['trainer']}'s own format; open it with that")
    windows = Windows(Path(folder) / facts["windows"], root)
    if windows.plan.lock.hash != facts["lock"]:
        raise IntegrityError(
            f"{folder} was exported from plan {facts['lock'][:12]}, now {windows.plan.lock.hash[:12]} is "
            f"at {facts['windows']}; export again"
        )
    return windows
