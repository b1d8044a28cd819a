"""A dataset card and its Croissant twin for the documents of a plan: manifests and plan in, README.md out.

Everything is generated: counts from the document manifests, licences and languages from the documents' own
columns, the mixture from the plan. The front matter is what the Hugging Face hub reads; ``croissant.json`` is
what dataset search reads (MLCommons Croissant 1.0). Paths are those of the profile's folder: a repository
that holds the card and ``documents/`` beside it loads. Cost: two columns of every document file, and one
read of each file whose sha256 no manifest holds.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Final

from smoldata.errors import InputError, IntegrityError
from smoldata.files import write_atomic, write_json
from smoldata.registry import Registry, load_registry
from smolmix.plan import Plan, load_plan

_SIZES: Final = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
    (10**10, "1B<n<10B"),
    (10**11, "10B<n<100B"),
    (10**12, "100B<n<1T"),
)
_LICENCES: Final = frozenset({
    "apache-2.0", "artistic-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "cc-by-3.0", "cc-by-4.0",
    "cc-by-nc-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "epl-2.0", "gpl", "gpl-2.0", "gpl-3.0", "isc",
    "lgpl", "lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0", "odc-by", "pddl", "postgresql", "unlicense", "wtfpl",
    "zlib",
})  # fmt: skip
"""Identifiers of the hub that sources may have: https://huggingface.co/docs/hub/repositories-licenses."""


@dataclass(frozen=True, slots=True)
class File:
    """One document file; its path is relative to the profile's folder."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Published:
    """The documents of one source."""

    name: str
    files: tuple[File, ...]
    documents: int
    text_bytes: int
    licences: tuple[str, ...]
    """As the documents state them; the registry's where they are silent."""
    languages: tuple[str, ...]
    dataset: str | None
    """Dataset on the hub that the text was read from; None: not from there."""

    @property
    def bytes(self) -> int:
        """Bytes of the files."""
        return sum(file.bytes for file in self.files)


def write_card(plan_folder: Path, out: Path | None = None, *, registry: Registry | None = None) -> list[Path]:
    """Write the card and ``croissant.json`` beside it; return their paths.

    ``out`` is the card's file (None: ``README.md`` in the profile's folder, where its paths hold).

    Raises:
        InputError: no source of the plan has documents, as with published sizes only.
        IntegrityError: a document file or manifest is not what it says.
    """
    plan = load_plan(plan_folder)
    profile = Path(plan_folder).resolve().parents[1]
    known = registry or load_registry()
    read = [source.name for source in plan.sources if source.windows]
    found = [_published(profile, name, plan.profile, known) for name in read]
    sources = [one for one in found if one is not None]
    if not sources:
        raise InputError(
            f"no source of {plan_folder} has documents in {profile / 'documents'}; "
            "a card describes data: build PROFILE=sample or PROFILE=hub"
        )
    card = Path(out) if out else profile / "README.md"
    write_atomic(card, card_text(plan, sources))
    croissant_path = card.with_name("croissant.json")
    write_json(croissant_path, croissant(plan, sources))
    return [card, croissant_path]


def _published(profile: Path, name: str, kind: str, registry: Registry) -> Published | None:
    """Return the documents of a source, counted; None if it has none."""
    import polars as pl

    manifest = profile / "documents" / name / "manifest.parquet"
    if not manifest.is_file():
        return None
    try:
        rows = pl.read_parquet(manifest)
        paths = [manifest.parent / path for path in rows["path"]]
        columns = [pl.read_parquet(path, columns=["license", "language"]) for path in paths]
    except (OSError, pl.exceptions.PolarsError) as error:
        raise IntegrityError(
            f"the documents of {name!r} cannot be read ({error}); build them again"
        ) from error
    said = pl.concat(columns) if columns else pl.DataFrame({"license": [], "language": []})
    if said.height != rows["documents"].sum():
        raise IntegrityError(
            f"the files of {name!r} hold {said.height:,} documents, {manifest} says "
            f"{rows['documents'].sum():,}; build them again"
        )
    if not said.height:
        return None
    source = registry.sources.get(name)
    stated = source.licence if source and kind == "hub" else None
    files = zip(paths, rows["bytes"], rows["sha256"], strict=True)
    return Published(
        name,
        tuple(_file(profile, path, size, sha256) for path, size, sha256 in files),
        said.height,
        int(rows["text_bytes"].sum()),
        _values(said["license"], stated or "unknown"),
        _values(said["language"], (source.language if source else None) or "unknown"),
        source.hub.dataset if source and source.hub and kind == "hub" else None,
    )


def _file(profile: Path, path: Path, size: int, sha256: str) -> File:
    """Return a file with its hash; the manifest's size must be that of the file."""
    from smolmix.bundle import digest_file

    if path.stat().st_size != size:
        raise IntegrityError(
            f"{path} has {path.stat().st_size:,} bytes, its manifest says {size:,}; build it again"
        )
    return File(path.relative_to(profile).as_posix(), size, sha256 or digest_file(path).sha256)


def _values(column: Any, missing: str) -> tuple[str, ...]:
    return tuple(sorted({missing if value is None else str(value) for value in column.unique().to_list()}))


def hub_licences(licences: Sequence[str]) -> list[str]:
    """Return SPDX expressions as the hub's identifiers: each part of an expression, ``other`` if unknown."""
    found = set()
    for expression in licences:
        for part in re.split(r"\s+(?:AND|OR|WITH)\s+|[()]", expression):
            name = part.strip().lower().removesuffix("-or-later").removesuffix("-only")
            if name:
                found.add(name if name in _LICENCES or name == "unknown" else "other")
    return sorted(found)


def hub_languages(languages: Sequence[str]) -> list[str]:
    """Return FineWeb2 codes as ISO 639-3; a programming language is ``code``."""
    found = {re.fullmatch(r"([a-z]{2,3})(?:_[A-Z][a-z]{3})?", one) for one in languages if one != "unknown"}
    codes = {match[1] for match in found if match}
    return sorted(codes | ({"code"} if None in found else set()))


def size_category(documents: int) -> str:
    """Return the hub's name for that many examples."""
    return next((name for limit, name in _SIZES if documents < limit), "n>1T")


def front_matter(plan: Plan, sources: Sequence[Published]) -> dict[str, Any]:
    """Return what the hub reads at the top of a card."""
    datasets = sorted({one.dataset for one in sources if one.dataset})
    return {
        "pretty_name": _title(plan),
        "license": hub_licences([licence for one in sources for licence in one.licences]),
        "language": hub_languages([language for one in sources for language in one.languages]),
        "size_categories": [size_category(sum(one.documents for one in sources))],
        "source_datasets": [f"extended|{name}" for name in datasets] or ["original"],
        "task_categories": ["text-generation"],
        "configs": [
            {
                "config_name": one.name,
                "data_files": [{"split": "train", "path": [file.path for file in one.files]}],
            }
            for one in sources
        ],
        "dataset_info": [
            {
                "config_name": one.name,
                "splits": [{"name": "train", "num_bytes": one.text_bytes, "num_examples": one.documents}],
                "download_size": one.bytes,
                "dataset_size": one.text_bytes,
            }
            for one in sources
        ],
    }


def _title(plan: Plan) -> str:
    return " ".join(filter(None, (plan.name, plan.preset, f"({plan.profile})")))


def card_text(plan: Plan, sources: Sequence[Published]) -> str:
    """Return the whole card."""
    import yaml

    matter = yaml.safe_dump(front_matter(plan, sources), sort_keys=False, allow_unicode=True, width=100)
    planned = {source.name: source for source in plan.sources}
    rows = [
        (
            *(one.name, planned[one.name].domain),
            *(f"{count:,}" for count in (one.documents, one.text_bytes, one.bytes)),
            *(str(planned[one.name].weight), f"{planned[one.name].tokens:,}", ", ".join(one.licences)),
        )
        for one in sources
    ]
    template = Template((resources.files("smolmix") / "templates" / "card.md").read_text("utf-8"))
    return template.substitute(
        matter=matter,
        title=_title(plan),
        sources=len(sources),
        plan_tokens=f"{plan.tokens:,}",
        steps=f"{plan.steps:,}",
        batch=plan.batch_windows,
        length=f"{plan.sequence_length:,}",
        tokenizer=plan.tokenizer.name,
        rows="\n".join(f"| {' | '.join(row)} |" for row in rows),
        documents=f"{sum(one.documents for one in sources):,}",
        text_bytes=f"{sum(one.text_bytes for one in sources):,}",
        file_bytes=f"{sum(one.bytes for one in sources):,}",
        tokens=f"{sum(planned[one.name].tokens for one in sources):,}",
        share=plan.validation_share,
        lock=plan.lock.hash,
    )


def croissant(plan: Plan, sources: Sequence[Published]) -> dict[str, Any]:
    """Return the Croissant 1.0 description (JSON-LD): every file with its hash, a record set a source."""
    from smolmix.card_croissant import describe

    licences = hub_licences([licence for one in sources for licence in one.licences])
    files = [(one.name, one.files) for one in sources]
    about = (
        f"Documents of {len(sources)} sources ({sum(one.documents for one in sources):,} documents, "
        f"{sum(one.text_bytes for one in sources):,} bytes of text), mixed for the stage {_title(plan)}."
    )
    return describe(_title(plan), about, plan.lock.hash, licences, files)
