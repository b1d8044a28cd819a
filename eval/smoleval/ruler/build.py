"""Settings -> files of RULER prompts whose lengths are exact, and a manifest that says what they are made of.

::

    <out>/<length>/
    ├── niah_single_1.jsonl ...    a line a prompt: index, input, answer_prefix, outputs, length
    ├── niah_single_1.json ...     what the file is made of, and its hash: written after it
    └── manifest.json              all of them; written last

A length counts the prompt, the chat template around it and the tokens reserved for the answer, as RULER does;
a prompt is 0 to 0.2 % shorter than that. Prompt number i of a task depends on seed, task, length and i alone.
Each is laid out from counts of its pieces and counted once or twice as a whole. Cost: 0.1 s for one prompt of
131,072 tokens, after 3 s for tokenizer and filler.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from random import Random
from typing import Any

from smoldata.errors import InputError, SmolError
from smoldata.files import code_digest, digest_values, sha256, single_writer, write_atomic, write_json
from smoldata.workers import run_all
from smoleval.ruler.counting import common_words, frequent_words, questions, variables
from smoleval.ruler.drafts import Draft, niah
from smoleval.ruler.material import (
    Filler,
    Material,
    filler_from_build,
    filler_from_file,
    load_words,
)
from smoleval.ruler.meter import Meter
from smoleval.ruler.questions import Library, read_library
from smoleval.ruler.tasks import KINDS, TASKS, Task, length_name

FORMAT_VERSION = 1
TOLERANCE = 0.002
_MOST_TURNS, _ATTEMPTS = 8, 4
ESSAYS = "PaulGrahamEssays.json"
"""The file that RULER's own script makes of the essays; its text has no published hash."""
_NEAR = 8
"""Tokens that a prompt may be short without another attempt, where more are allowed."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What decides every byte of the prompts of one length."""

    length: int
    count: int
    seed: int = 42
    tokenizer: str = "llama-3.2"
    filler: str = ""
    """File of running text; empty: the documents of the build."""
    questions: tuple[tuple[str, str], ...] = ()
    """(``squad`` or ``hotpotqa``, file)."""
    build: str = "build"
    profile: str = "sample"
    template_tokens: int = 0
    """Of the chat template around the prompt."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt whose length is right."""

    draft: Draft
    length: int
    """Prompt, template and reserved answer, in tokens."""


def build(spec: Spec, tasks: list[Task], out: Path, workers: int = 1) -> dict[str, Any]:
    """Write the prompts of ``tasks`` of one length under ``out``; return the manifest.

    What stands there with the same inputs is kept. A task that lacks its material (``qa`` without questions)
    is named under ``missing``. Raises :class:`InputError` if nothing can be built, or a length is too short.
    """
    folder = out / length_name(spec.length)
    with single_writer(folder):
        missing = {task.name: why for task in tasks if (why := lacks(task, spec))}
        todo = [task for task in tasks if task.name not in missing]
        if not todo:
            raise InputError(f"nothing to build: {'; '.join(f'{k}: {v}' for k, v in missing.items())}")
        calls = [partial(build_task, spec, task, folder) for task in todo]
        statements = {one["task"]: one for one in run_all(calls, workers)}
        ordered = {task.name: statements[task.name] for task in todo}
        manifest = _manifest(spec, ordered, missing)
        write_json(folder / "manifest.json", manifest)
    return manifest


def lacks(task: Task, spec: Spec) -> str:
    """Return what a task needs that is not there; empty if nothing."""
    if task.questions and task.questions not in dict(spec.questions):
        option = {"squad": "--qa-1", "hotpotqa": "--qa-2"}[task.questions]
        return f"no file of questions: {option}"
    if task.haystack == "essay" and material(spec).filler is None:
        return f"no running text: neither --filler nor English documents in {spec.build}/{spec.profile}"
    return ""


def build_task(spec: Spec, task: Task, folder: Path) -> dict[str, Any]:
    """Write one task's prompts, unless they stand there; return the statement about them."""
    path, beside = folder / f"{task.name}.jsonl", folder / f"{task.name}.json"
    inputs = _inputs(spec, task)
    if beside.is_file() and path.is_file():
        stated: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8"))
        if stated.get("input_hash") == inputs and stated.get("sha256") == sha256(path):
            return stated
    samples = [make_sample(spec, task, index, material(spec)) for index in range(spec.count)]
    lines = [json.dumps(_row(index, one, spec), ensure_ascii=False) for index, one in enumerate(samples)]
    write_atomic(path, "".join(f"{line}\n" for line in lines))
    lengths = [sample.length for sample in samples]
    statement = {
        "task": task.name,
        "file": path.name,
        "sha256": sha256(path),
        "input_hash": inputs,
        "rows": len(samples),
        "shortest": min(lengths),
        "longest": max(lengths),
        "parameters": asdict(task),
        "answer_tokens": KINDS[task.kind].answer_tokens,
        "metric": KINDS[task.kind].metric,
    }
    write_json(beside, statement)
    return statement


def make_sample(spec: Spec, task: Task, index: int, parts: Material) -> Sample:
    """Return prompt number ``index`` of a task; raises :class:`SmolError` if the length can't be met."""
    reserved = KINDS[task.kind].answer_tokens + spec.template_tokens
    wanted = spec.length - reserved
    least = spec.length - int(TOLERANCE * spec.length) - reserved
    for turn in range(_MOST_TURNS):
        # Other random numbers, where words of many tokens stand just where the prompt should end.
        seed = f"{spec.seed}/{task.name}/{spec.length}/{index}" + (f"/{turn}" if turn else "")
        aim, best = wanted - turn, None
        for _ in range(_ATTEMPTS):
            draft = _draft(task, Random(seed), aim, parts, index)  # noqa: S311 - no secret
            tokens = parts.meter.count(draft.prompt)
            if least <= tokens <= wanted and (best is None or best.length < tokens + reserved):
                best = Sample(draft, tokens + reserved)
            if wanted - _NEAR <= tokens <= wanted:
                break
            # Pieces counted alone may differ from the whole by a few tokens, so leave room for one.
            aim += wanted - tokens - 1
        if best:
            return best
    raise SmolError(
        f"{task.name} {index}: {tokens + reserved:,} tokens, wanted {least + reserved:,} to {spec.length:,}, "
        f"not met in {_MOST_TURNS * _ATTEMPTS} tries; give a greater --length"
    )


def _draft(task: Task, random: Random, tokens: int, parts: Material, index: int) -> Draft:
    if task.kind == "qa":
        return questions(task, random, tokens, parts, index)
    makers: dict[str, Callable[[Task, Random, int, Material], Draft]] = {
        "niah": niah,
        "vt": variables,
        "cwe": common_words,
        "fwe": frequent_words,
    }
    return makers[task.kind](task, random, tokens, parts)


@lru_cache(maxsize=2)
def _material(
    tokenizer: str, filler: str, sets: tuple[tuple[str, str], ...], build: str, profile: str
) -> Material:
    from smoltok.tokenizer import resolve

    found: Filler | None = (
        filler_from_file(Path(filler)) if filler else filler_from_build(Path(build), profile)
    )
    libraries: dict[str, Library] = {name: read_library(path, name) for name, path in sets}
    return Material(Meter(resolve(tokenizer)), load_words(), found, libraries)


def material(spec: Spec) -> Material:
    """Return what prompts are made of, read once a process."""
    return _material(spec.tokenizer, spec.filler, spec.questions, spec.build, spec.profile)


def _row(index: int, sample: Sample, spec: Spec) -> dict[str, Any]:
    """Return a line of a prompts file: RULER's own keys."""
    return {
        "index": index,
        "input": sample.draft.user,
        "answer_prefix": sample.draft.answer_prefix,
        "outputs": list(sample.draft.answers),
        "length": sample.length - spec.template_tokens,
        "length_w_model_temp": sample.length,
    }


def _inputs(spec: Spec, task: Task) -> str:
    parts = material(spec)
    words = digest_values(parts.words.all, parts.words.nouns, parts.words.adjectives)
    filler = parts.filler.sha256 if task.haystack == "essay" and parts.filler else ""
    library = parts.libraries[task.questions].sha256 if task.questions else ""
    settings = [spec.length, spec.count, spec.seed, parts.meter.tokenizer.sha256, spec.template_tokens]
    kind = asdict(KINDS[task.kind])
    return digest_values(FORMAT_VERSION, settings, asdict(task), kind, words, filler, library, version())


def version() -> str:
    """Return the digest of the code that makes prompts."""
    return code_digest([Path(__file__).parent])


def _manifest(spec: Spec, statements: dict[str, Any], missing: dict[str, str]) -> dict[str, Any]:
    parts = material(spec)
    tokenizer = parts.meter.tokenizer
    return {
        "format_version": FORMAT_VERSION,
        "length": spec.length,
        "count": spec.count,
        "seed": spec.seed,
        "template_tokens": spec.template_tokens,
        "tokenizer": {"name": tokenizer.name, "sha256": tokenizer.sha256},
        "words": parts.words.origin,
        "filler": {"origin": parts.filler.origin, "sha256": parts.filler.sha256} if parts.filler else None,
        "questions": {
            name: {"origin": one.origin, "sha256": one.sha256, "published": one.published}
            for name, one in parts.libraries.items()
        },
        "tasks": statements,
        "missing": missing,
        "differs": differs(spec, set(statements)),
        "sha256": digest_values([one["sha256"] for one in statements.values()]),
    }


def differs(spec: Spec, names: set[str]) -> list[str]:
    """Return in what these prompts are not those of the published figures."""
    parts = material(spec)
    found = (
        [f"without {', '.join(name for name in TASKS if name not in names)}"] if set(TASKS) - names else []
    )
    if (
        any(TASKS[name].haystack == "essay" for name in names)
        and parts.filler
        and parts.filler.origin != ESSAYS
    ):
        found.append(f"running text is not RULER's essays but {parts.filler.origin}")
    found += [
        f"{task.name} asks questions of {parts.libraries[task.questions].origin}"
        for task in TASKS.values()
        if task.name in names and task.questions and not parts.libraries[task.questions].published
    ]
    return found
