"""Which of nanotron's checkpoints is whole, and so what a launch goes on from: folders in, one folder out.

nanotron writes a checkpoint's files one after another under their final names, and ``latest.txt`` before the
last of them: killed in between it leaves half a checkpoint, at times one that ``latest.txt`` names. So our
launcher closes each checkpoint with a seal, a file with the sizes of all the others, written whole and last,
after every rank is done; and a launch names the step that it goes on from, never ``latest.txt``.

A checkpoint without seal (nanotron's stock launch, an older one) is examined instead: its metadata can be
read, every rank's file is there, safetensors are as long as their headers say, archives of ``torch.save``
have an end. Nothing is unpickled. Cost: a stat a file, and for the latter its header.
"""

import json
import re
import struct
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoldata.console import say
from smoldata.errors import InputError, SmolError
from smoldata.files import fsync, write_atomic, write_json

SEAL = "smoltrain.json"
FORMAT_VERSION = 1
_METADATA = ("config.yaml", "checkpoint_metadata.json", "model_config.json")
_RANKS = re.compile(r"_pp-rank-\d+-of-(\d+)_tp-rank-\d+-of-(\d+)\.safetensors$")


@dataclass(frozen=True, slots=True)
class Found:
    """The last whole checkpoint of a stage's folder, and the later ones that are not."""

    checkpoint: Path | None
    halves: tuple[tuple[Path, str], ...] = ()
    """Folder and what is wrong with it."""

    @property
    def step(self) -> int | None:
        """Return the step after which it was written; None if its folder is not named by one."""
        name = self.checkpoint.name if self.checkpoint else ""
        return int(name) if name.isdecimal() else None

    def told(self) -> str:
        """Return a sentence about the ones that are not whole; empty if there are none."""
        return "; ".join(f"{folder} is no whole checkpoint ({fault})" for folder, fault in self.halves)


def seal(checkpoint: Path) -> None:
    """Flush all files of a checkpoint to the disk, then list them; call it when every rank has written."""
    files = [path for path in _files(checkpoint) if path.name != SEAL]
    for path in files:
        fsync(path)
    rows = [{"path": path.relative_to(checkpoint).as_posix(), "bytes": path.stat().st_size} for path in files]
    write_json(checkpoint / SEAL, {"format_version": FORMAT_VERSION, "files": rows})


def fault_of(checkpoint: Path) -> str | None:
    """Say what is missing or cut in a checkpoint; None: it is whole."""
    try:
        return _sealed_fault(checkpoint) if (checkpoint / SEAL).is_file() else _fault(checkpoint)
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        return f"it cannot be read: {error}"


def last_whole(folder: Path) -> Found:
    """Return the last whole checkpoint of ``folder``: one itself, or a stage's folder of them by step."""
    if (folder / _METADATA[1]).is_file() or (folder / _METADATA[2]).is_file():
        fault = fault_of(folder)
        return Found(None, ((folder, fault),)) if fault else Found(folder)
    steps = [path for path in folder.glob("*") if path.is_dir() and path.name.isdecimal()]
    halves: list[tuple[Path, str]] = []
    for path in sorted(steps, key=lambda path: -int(path.name)):
        fault = fault_of(path)
        if fault is None:
            return Found(path, tuple(halves))
        halves.append((path, fault))
    return Found(None, tuple(halves))


def resumed(
    values: dict[str, Any], run: Path, stage: str, *, strict: bool = True
) -> tuple[dict[str, Any], Found]:
    """Return a configuration's values with the checkpoint that a launch goes on from, and what was found.

    The stage's own last whole one, with optimizer and schedule; before there is one, the one that the
    configuration names. If ``strict``, raises :class:`InputError` if that is not there or not whole, or if it
    ends at another step than the stage needs.
    """
    asked = values["checkpoints"]
    own = last_whole(run / asked["checkpoints_path"])
    if own.checkpoint is not None:
        resume = {"resume_checkpoint_path": _shown(own.checkpoint, run)}
        whole = {"load_optimizer": True, "load_lr_scheduler": True}
        return {**values, "checkpoints": {**asked, **resume, **whole}}, own
    named = asked["resume_checkpoint_path"]
    if not strict or not named or "://" in named:
        return values, own
    before = last_whole(run / named)
    _check_before(values, before, run / named, stage)
    assert before.checkpoint is not None, "else it was refused"
    resume = {"resume_checkpoint_path": _shown(before.checkpoint, run)}
    return {**values, "checkpoints": {**asked, **resume}}, own


def _check_before(values: dict[str, Any], before: Found, named: Path, stage: str) -> None:
    if before.checkpoint is None:
        seen = before.told() or f"{named} holds no checkpoint of nanotron"
        raise InputError(
            f"{stage} goes on from {named}: {seen}; run the stage before into the same run folder, or name "
            "another with --set checkpoints.resume_checkpoint_path=..."
        )
    wanted = values["data_stages"][-1]["start_training_step"] - 1
    if values["checkpoints"]["load_lr_scheduler"] and before.step not in {None, wanted}:
        raise InputError(
            f"{stage} begins after step {wanted}, but the last whole checkpoint is {before.checkpoint}"
            f"{' (' + before.told() + ')' if before.halves else ''}; run the stage before again: it goes on "
            "from there"
        )


def _shown(checkpoint: Path, run: Path) -> str:
    return checkpoint.relative_to(run).as_posix() if checkpoint.is_relative_to(run) else str(checkpoint)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sealed_fault(checkpoint: Path) -> str | None:
    facts = json.loads((checkpoint / SEAL).read_bytes())
    for row in facts["files"]:
        path = checkpoint / row["path"]
        size = path.stat().st_size if path.is_file() else None
        if size != row["bytes"]:
            seen = "is missing" if size is None else f"has {size:,} bytes, not {row['bytes']:,}"
            return f"{row['path']} {seen}"
    return None


def _fault(checkpoint: Path) -> str | None:
    """Examine a checkpoint that has no seal."""
    for name in _METADATA:
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
        if not isinstance(_read(checkpoint / name), dict):
            return f"{name} is cut off"
    return next(_faults(checkpoint), None)


def _read(file: Path) -> Any:
    import yaml

    if file.suffix == ".json":
        return json.loads(file.read_bytes())
    try:
        return yaml.safe_load(file.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{file.name}: {error}") from error


def _faults(checkpoint: Path) -> Iterator[str]:
    for kind, wanted in _wanted(checkpoint).items():
        seen = len(list((checkpoint / kind).glob("*.pt")))
        if seen != wanted:
            yield f"{kind} has the files of {seen} of {wanted} ranks"
    weights = list((checkpoint / "model").rglob("*.safetensors"))
    if not weights:
        yield "model has no weights"
    for path in weights:
        ranks = _RANKS.search(path.name)
        beside = len([other for other in path.parent.glob("*.safetensors") if _RANKS.search(other.name)])
        if ranks and beside != int(ranks[2]):
            yield f"{path.parent.relative_to(checkpoint)} has the files of {beside} of {ranks[2]} ranks"
    for path in _files(checkpoint):
        if not _ends(path):
            yield f"{path.relative_to(checkpoint)} is cut off"


def _wanted(checkpoint: Path) -> dict[str, int]:
    """Return how many ranks write into each folder, by the configuration that lies in the checkpoint."""
    config = _read(checkpoint / "config.yaml")
    ranks = config["parallelism"]
    split = ranks["pp"] * ranks["tp"]
    states = split * ranks["expert_parallel_size"] * (ranks["dp"] if config["optimizer"]["zero_stage"] else 1)
    return {"optimizer": states, "lr_scheduler": states, "random": split * ranks["dp"]}


def _ends(path: Path) -> bool:
    """Say whether a file has its end: by the header of safetensors, by the directory of an archive."""
    if path.suffix == ".pt":
        return zipfile.is_zipfile(path)
    if path.suffix != ".safetensors":
        return True
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    return path.stat().st_size == 8 + int(length) + int(max(ends, default=0))


def main() -> None:
    """Rewrite a launch's configuration file so that it goes on from the last whole checkpoint.

    ``python -m smoltrain.nanotron.checkpoints run/stage1/nanotron-plan.yaml run``: for a job that Slurm
    starts again. Needs no more than nanotron's own environment.
    """
    file, run = (Path(word) for word in sys.argv[1:3])
    try:
        rewrite(file, run)
    except SmolError as error:
        say(f"error: {error}")
        sys.exit(1)


def rewrite(file: Path, run: Path) -> None:
    """Name the last whole checkpoint in a launch's configuration; see :func:`resumed` for what it raises."""
    import yaml

    values = yaml.safe_load(file.read_text("utf-8"))
    made, found = resumed(values, run, values["data_stages"][-1]["name"])
    if found.halves:
        goes_on = made["checkpoints"]["resume_checkpoint_path"] or "random weights"
        say(f"{found.told()}; goes on from {goes_on}")
    write_atomic(file, yaml.safe_dump(made, sort_keys=True, allow_unicode=True, width=1000))


if __name__ == "__main__":
    main()
