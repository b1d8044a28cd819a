"""The texts of a bundle that a person reads or runs: the sbatch script and the README, from templates.

Templates use ``%{name}``, because the script is full of dollar signs.
"""

import re
from collections.abc import Mapping
from importlib import resources
from string import Template
from typing import Any

from smolmix.nanotron import Emitted, Launch
from smolmix.nanotron_schema import DATATROVE_COMMIT, NANOTRON_COMMIT

_RESUME_CHECK = """\
elif [[ ! -e "%s" ]]; then
  # nanotron would only log this and start from random weights.
  echo "error: $RUN/%s is missing: this stage goes on from that checkpoint" >&2
  exit 1
"""


class _PercentTemplate(Template):
    delimiter = "%"
    idpattern = r"(?!)"
    braceidpattern = r"[a-z_]+"
    flags = re.NOFLAG


def _fill(name: str, **values: object) -> str:
    text = (resources.files("smolmix") / "templates" / name).read_text("utf-8")
    return _PercentTemplate(text).safe_substitute({key: str(value) for key, value in values.items()})


def sbatch(plan: Mapping[str, Any], emitted: Emitted, launch: Launch) -> str:
    """Return the Slurm script: preflight, links, and one torchrun a node."""
    gpus = emitted.config.gpus
    per_node = min(gpus, launch.gpus_per_node)
    resume = emitted.config.checkpoints.resume_checkpoint_path
    return _fill(
        "train.sbatch",
        stage=title(plan),
        stage_name=plan["name"],
        lock=plan["lock"]["hash"],
        commit=NANOTRON_COMMIT,
        job=f"smollm3-{plan['name']}",
        nodes=-(-gpus // per_node),
        gpus_per_node=per_node,
        resume_check=_RESUME_CHECK % (resume, resume) if resume and "://" not in resume else "",
    )


def title(plan: Mapping[str, Any]) -> str:
    """Return how people call the stage: name and preset."""
    return f"{plan['name']} ({plan['preset']})" if plan["preset"] else str(plan["name"])


def readme(plan: Mapping[str, Any], emitted: Emitted, shards: Any) -> str:
    """Return the bundle's README."""
    import pyarrow.compute as pc

    config = emitted.config
    resume = config.checkpoints.resume_checkpoint_path
    findings = [f"- {one['severity']}: {one['message']} ({one['fix']})" for one in plan["findings"]]
    notes = [f"- {note.code}: {note.message}" for note in emitted.notes]
    size = pc.sum(shards.column("bytes")).as_py()
    return _fill(
        "bundle.md",
        nanotron=NANOTRON_COMMIT,
        datatrove=DATATROVE_COMMIT,
        title=f"Hand-off: {title(plan)}",
        lock=plan["lock"]["hash"],
        steps=f"{plan['steps']:,}",
        first=f"{plan['start_step'] + 1:,}",
        last=f"{plan['start_step'] + plan['steps']:,}",
        tokens=f"{plan['tokens']:,}",
        batch=f"{plan['batch_windows']:,}",
        sequence=f"{plan['sequence_length']:,}",
        gpus=config.gpus,
        dp=config.parallelism.dp,
        tp=config.parallelism.tp,
        cp=config.parallelism.context_parallel_size,
        mbs=config.tokens.micro_batch_size,
        acc=config.tokens.batch_accumulation_per_replica,
        shards=f"{shards.num_rows:,}",
        bytes=f"{size:,} bytes" if size else "no files: planned on published sizes",
        tokenizer=plan["tokenizer"]["name"],
        eos=plan["tokenizer"]["eos_id"],
        resume=f"5. This stage resumes from `{resume}` in the run folder.\n" if resume else "",
        notes="\n".join([*notes, *findings]),
    )
