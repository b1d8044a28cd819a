"""The configuration of one launch: a bundle's nanotron.yaml in, the one for this run folder out.

nanotron's rules about stages and checkpoints are kept by construction: the first launch of a stage resumes
from the checkpoint that the bundle names, and is refused where that is not there (nanotron would only log
it and begin with random weights); a later launch goes on from the stage's own last whole checkpoint, with
its optimizer and schedule (:mod:`smoltrain.nanotron.checkpoints`). For our loader every ``dataset`` becomes
null, nanotron's word for a custom dataloader. Changes are given as ``tokens.train_steps=20`` and pass the
strict schema like the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from smoldata.errors import InputError
from smoldata.files import write_atomic
from smolmix.nanotron_schema import NanotronConfig, parse_config
from smoltrain.nanotron.checkpoints import resumed

Loader = Literal["plan", "stock"]


@dataclass(frozen=True, slots=True)
class Launch:
    """A checked configuration, where it lies, and what it goes on from."""

    config: NanotronConfig
    file: Path
    stage: str
    resumes: str | None
    """Checkpoint folder, relative to the run's; None: random weights."""
    warning: str = ""
    """What a killed launch left that is no whole checkpoint; empty: nothing."""


def prepare(
    bundle: Path,
    run: Path,
    *,
    loader: Loader = "plan",
    changes: Sequence[str] = (),
    check_resume: bool = True,
) -> Launch:
    """Write the configuration of a launch into the run's folder and return it.

    Raises :class:`InputError` if a change does not fit the schema, or if the checkpoint to go on from is not
    there (unless ``check_resume`` is off: to show the commands before the stages before have run).
    """
    values = changed(read(bundle / "nanotron.yaml"), changes)
    parse_config(values)
    stage = values["data_stages"][-1]["name"]
    values, found = resumed(values, run, stage, strict=check_resume)
    config = parse_config(values)
    resumes = values["checkpoints"]["resume_checkpoint_path"]
    if loader == "plan":
        for one in values["data_stages"]:
            one["data"]["dataset"] = None
    file = run / stage / f"nanotron-{loader}.yaml"
    write_atomic(file, yaml.safe_dump(values, sort_keys=True, allow_unicode=True, width=1000))
    return Launch(config, file, stage, resumes, found.told())


def read(path: Path) -> dict[str, Any]:
    """Return a YAML mapping; raises :class:`InputError` naming the file."""
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {error}; give the folder of a bundle") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} is not a mapping; write the bundle again with `make handoff`")
    return values


def changed(values: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return ``values`` with changes such as ``parallelism.dp=2`` made; list places count from 0."""
    for change in changes:
        place, sign, text = change.partition("=")
        *above, key = place.split(".")
        if not sign or not key:
            raise InputError(f"--set {change}: write it as tokens.train_steps=20")
        try:
            inner: Any = values
            for name in above:
                inner = inner[int(name)] if isinstance(inner, list) else inner[name]
            inner[int(key) if isinstance(inner, list) else key] = yaml.safe_load(text)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(f"--set {change}: nanotron.yaml has no such place ({error})") from error
        except yaml.YAMLError as error:
            raise InputError(f"--set {change}: {text} is not YAML: {error}") from error
    return values
