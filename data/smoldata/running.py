"""A pipeline recipe over files of one's own -> documents in a folder, without a registry.

The build of :mod:`smoldata.build` for one source that is made up on the spot: columns by name, everything
else as there (tasks, resumption, manifest, counted drops).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from smoldata.build import Built, Runner, build_jobs, built_of, make_job, with_gate
from smoldata.errors import InputError, SourceError
from smoldata.files import remove_leftovers, single_writer, xxh3_128
from smoldata.identifiers import RULES, DuplicateIds
from smoldata.merge import read_manifest
from smoldata.patterns import matcher
from smoldata.pipeline_types import Limit, RawInput
from smoldata.recipe import PipelineRecipe, load_pipeline
from smoldata.registry import Columns, Source

_READABLE = (
    *(".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".json.gz", ".json.zst"),
    *(".warc", ".warc.gz", ".warc.zst", ".ipynb", ".xml", ".xml.bz2", ".xml.gz"),
)


def run_pipeline(
    which: str,
    inputs: Sequence[str],
    output: Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
    name: str | None = None,
    language: str | None = None,
    tasks: int | None = None,
    workers: int = 2,
    limit: Limit | None = None,
    run: Runner | None = None,
    licence: str | None = None,
    forbid_licences: Sequence[str] = (),
    duplicate_ids: DuplicateIds = "error",
) -> Built:
    """Run a shipped recipe, or one at a path, over files, folders or fsspec addresses; return the counts.

    ``columns`` says which column is ``text``, ``id``, ``url``, ``path``, ``language`` or ``license`` where it
    is called otherwise. ``licence`` is that of documents that state none; documents of the classes
    ``forbid_licences`` (:mod:`smoldata.licences`) are dropped and counted. ``duplicate_ids`` says what a
    second text under an identifier is (:mod:`smoldata.identifiers`). Raises :class:`RecipeError` and
    :class:`SourceError` as a build does.
    """
    if duplicate_ids not in RULES:
        raise InputError(f"--duplicate-ids is {duplicate_ids!r}; valid: {', '.join(RULES)}")
    recipe = with_gate(load_pipeline(which, parameters, language=language), forbid_licences)
    source = source_of(recipe, name or recipe.name, language, columns or {})
    source = source.model_copy(update={"duplicate_ids": duplicate_ids})
    inside = f"{output.absolute()}/"
    files = tuple(
        replace(raw, licence=licence)
        for raw in input_files(inputs)
        if not str(Path(raw.address).absolute()).startswith(inside)
    )
    with single_writer(output):
        remove_leftovers(output)
        job = make_job(source, recipe, files, output, output / ".work", tasks, limit or Limit())
        build_jobs([job] if job.why else [], workers, run)
        return built_of(job)


def source_of(recipe: PipelineRecipe, name: str, language: str | None, columns: Mapping[str, str]) -> Source:
    """Return the source that a run is for: a name, and which columns hold what."""
    fields = {
        "text": "text",
        "id": "id",
        "url": "url",
        "path": "path",
        "language": "language",
        "license": "license",
    }
    unknown = set(columns) - set(fields)
    if unknown:
        raise InputError(f"no field {', '.join(sorted(unknown))}; fields: {', '.join(fields)}")
    fields |= columns
    if recipe.read.contents is not None and "id" not in columns:
        fields["id"] = "blob_id"
    scores = [step.settings["name"] for step in recipe.steps if step.name == "score"]
    scores += [
        step.settings.get("score", "language_score")
        for step in recipe.steps
        if step.name == "fineweb2_language"
    ]
    return Source(
        name=name,
        kind="reference",
        domain="web",
        group="web/english",
        language=language,
        origin="own",
        columns=Columns(
            text=tuple(fields["text"].split("+")),
            id=fields["id"],
            url=fields["url"],
            path=fields["path"],
            language=None if language else fields["language"],
            license=fields["license"],
            scores=tuple(dict.fromkeys([*scores, "scores"])),  # those of documents that were made here before
            metadata=("date",),
        ),
    )


def input_files(inputs: Sequence[str]) -> Iterable[RawInput]:
    """Return each readable file of files, folders and addresses, sorted by its name inside the input."""
    found: dict[str, RawInput] = {}
    for given in inputs:
        listed = _remote(given) if "://" in given else _local(Path(given))
        for raw in listed:
            if raw.relative in found and found[raw.relative].address != raw.address:
                raise InputError(
                    f"{raw.address} and {found[raw.relative].address} are both called {raw.relative}; "
                    "give the folder above them"
                )
            found[raw.relative] = raw
    if not found:
        raise SourceError(f"no readable file in {', '.join(inputs)}; known: {', '.join(_READABLE)}")
    return [found[name] for name in sorted(found)]


def _local(path: Path) -> Iterable[RawInput]:
    if path.is_file():
        return [RawInput(str(path), path.name, path.stat().st_size, xxh3_128(path), None)]
    if not path.is_dir():
        raise SourceError(f"no folder or file at {path}")
    # Of documents that were made here before: what the manifest names, not the tables beside them.
    known = {path / row["path"] for row in read_manifest(path) if "format_version" in row and "path" in row}
    files = (entry for entry in path.rglob("*") if entry.is_file() and entry.name.endswith(_READABLE))
    files = (entry for entry in files if not known or entry in known)
    return [
        RawInput(str(entry), entry.relative_to(path).as_posix(), entry.stat().st_size, xxh3_128(entry), None)
        for entry in files
    ]


def _remote(url: str) -> Iterable[RawInput]:
    from smoldata.inputs import remote_files

    fits = matcher(
        tuple(f"**/*{suffix}" for suffix in _READABLE) + tuple(f"*{suffix}" for suffix in _READABLE)
    )
    return list(remote_files("input", url, fits, None))
