"""Token manifests or the registry into a :class:`~smolmix.supply.Supply`: the planner's eyes.

``sample`` and ``hub`` read ``tokens/<tokenizer>/<source>/manifest.parquet`` (training rows); ``full`` needs
no data and makes virtual shards of the published sizes. Cost: one small Parquet file a source; 0.3 s a
million shards.
"""

import difflib
import os
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smoldata.errors import IntegrityError, RecipeError, SourceError
from smolmix.findings import Finding
from smolmix.recipe import Recipe, TokenizerModel
from smolmix.supply import SourceSupply, Supply, TokenizerFacts, virtual_shards

if TYPE_CHECKING:
    from smoldata.registry import Registry, Source
    from smolmix.plan import Plan

_COLUMNS = ("split", "path", "tokens", "documents", "bytes", "xxh3_128", "sha256")
_FACTS = (
    "format_version",
    "tokenizer",
    "tokenizer_sha256",
    "eos_id",
    "token_width",
    "vocab_size",
    "validation_share",
)
MANIFEST_VERSION = 1


def names_of(recipes: Iterable[Recipe]) -> list[str]:
    """Return the sources that any preset of these recipes names, sorted."""
    return sorted(
        {leaf.name for recipe in recipes for preset in recipe.presets for leaf in preset.tree.root.leaves()}
    )


def check_names(names: Iterable[str], registry: "Registry") -> None:
    """Raise for a source that the registry does not know, with close names.

    Raises:
        SourceError: the first unknown source.
    """
    for name in names:
        if name not in registry.sources:
            near = difflib.get_close_matches(name, list(registry.sources), 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise SourceError(
                f"the recipe names the source {name!r}, which the registry does not know; {hint}"
                "`smoldata sources` lists the known ones, `--registry` adds your own"
            )


def tokenizer_facts(choice: TokenizerModel, folder: Path) -> TokenizerFacts:
    """Return the facts of the recipe's tokenizer, without reading a shard.

    Raises:
        TokenizerError: it is not known, or its file cannot be read.
        RecipeError: the file is not the one that the recipe pins.
    """
    from smoltok.tokenizer import resolve

    known = resolve(folder / choice.path, eos=choice.eos_id) if choice.path else resolve(choice.name)
    for what, wanted, seen in (
        ("sha256", choice.sha256, known.sha256),
        ("eos_id", choice.eos_id, known.eos_id),
    ):
        if wanted is not None and wanted != seen:
            raise RecipeError(
                f"tokenizer {choice.name!r} has {what} {seen}, the recipe pins {wanted}; correct one"
            )
    return TokenizerFacts(choice.name, known.sha256, known.eos_id, known.token_width, known.vocab_size)


def supply_from_registry(recipe: Recipe, names: Iterable[str], registry: "Registry") -> Supply:
    """Return virtual shards of the published sizes; no data is needed.

    Raises:
        SourceError: a name that the registry does not know.
    """
    wanted = sorted(names)
    check_names(wanted, registry)
    facts = tokenizer_facts(recipe.tokenizer, recipe.path.parent)
    sources = {name: _virtual(registry.sources[name], facts.name) for name in wanted}
    used = {name: _size_facts(registry.sources[name]) for name in wanted}
    return Supply(sources, facts, registry=used)


def _size_facts(source: "Source") -> list[Any]:
    size = source.size
    return [size.tokens, size.tokenizer] if size else [None, None]


def _virtual(source: "Source", tokenizer: str) -> SourceSupply:
    tokens, counted_with = _size_facts(source)
    if tokens is None:
        finding = Finding(
            "unknown-size",
            "warning",
            source.name,
            f"{source.name}: no published size in tokens; its passes are unknown",
            "tokenize it (its manifest then gives the size), or add a size to the registry",
        )
        return SourceSupply(source.name, None, virtual=True, findings=(finding,))
    confidence = source.size.confidence if source.size else None
    findings: tuple[Finding, ...] = ()
    if counted_with != tokenizer:
        findings = (
            Finding(
                "other-tokenizer",
                "info",
                source.name,
                f"{source.name}: {tokens:,} tokens counted with {counted_with or 'an unnamed tokenizer'} "
                f"({confidence}), not with {tokenizer}; its passes are an estimate",
                "tokenize it for the true count",
            ),
        )
    return SourceSupply(source.name, virtual_shards(tokens), virtual=True, findings=findings)


def supply_for(plan: "Plan", recipe: Recipe, names: Iterable[str], plan_folder: Path) -> Supply:
    """Return the supply for a recipe that goes on from a loaded plan, from where that plan's shards are.

    ``names`` are the sources of the stages before; those of the recipe are added.
    """
    from smoldata.registry import load_registry

    assert plan.folder is not None, "a loaded plan"
    known = set(names)
    wanted = sorted({*known, *names_of([recipe])})
    registry = load_registry(recipe.registry)
    if plan.profile == "full":
        return supply_from_registry(recipe, wanted, registry)
    check_names(sorted({*names_of([recipe])} - known), registry)
    tokens = plan.folder.resolve().parents[1] / "tokens" / plan.tokenizer.name
    effective = recipe.scaled_to_sample() if plan.profile == "sample" else recipe
    return supply_from_manifests(effective, wanted, tokens, plan_folder.resolve())


def supply_from_manifests(recipe: Recipe, names: Iterable[str], tokens: Path, plan_folder: Path) -> Supply:
    """Return the training shards that the manifests under ``tokens`` (one folder a source) list.

    Sources without a manifest, or without training rows, are left out: the planner calls them absent.
    ``plan_folder`` is what shard paths will be relative to.

    Raises:
        IntegrityError: a manifest of another format, or two that do not agree on the tokenizer.
        SourceError: a manifest was made with another tokenizer or validation share than the recipe's.
    """
    sources: dict[str, SourceSupply] = {}
    facts: dict[str, Mapping[str, Any]] = {}
    for name in sorted(names):
        manifest = tokens / name / "manifest.parquet"
        if not manifest.is_file():
            continue
        table, facts[name] = _read_manifest(manifest)
        if table.num_rows == 0:
            del facts[name]
            continue
        prefix = Path(os.path.relpath(manifest.parent, plan_folder)).as_posix()
        training = _training_shards(name, table, prefix)
        if training.tokens is not None and training.tokens.size:
            sources[name] = training
    tokenizer = tokenizer_facts(recipe.tokenizer, recipe.path.parent)
    for name, seen in facts.items():
        _check_facts(name, seen, tokenizer, recipe)
    return Supply(sources, tokenizer, recipe.validation)


def _read_manifest(path: Path) -> tuple[Any, dict[str, Any]]:
    """Return the columns that differ from shard to shard, and the values that all shards share."""
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=list(_COLUMNS)), {name: _one_value(file, name) for name in _FACTS}
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(
            f"cannot read the manifest {path}: {error}; tokenize the source again"
        ) from error
    except ValueError as error:
        raise IntegrityError(f"the manifest {path} is mixed: {error}; tokenize the source again") from error


def _one_value(file: Any, name: str) -> Any:
    """Return the value that a column has in every row, by the footer's statistics if there are some."""
    number = file.schema_arrow.names.index(name)
    groups = [file.metadata.row_group(i).column(number) for i in range(file.metadata.num_row_groups)]
    if all(group.is_stats_set and group.statistics.has_min_max for group in groups):
        values = {end for group in groups for end in (group.statistics.min, group.statistics.max)}
    else:
        values = set(file.read(columns=[name]).column(name).unique().to_pylist())
    if len(values) > 1:
        raise ValueError(f"its shards have {name} {' and '.join(sorted(map(str, values)))}")
    return next(iter(values), None)


def _training_shards(name: str, table: Any, prefix: str) -> SourceSupply:
    train = table.filter(pc.equal(table.column("split"), "train")).combine_chunks()
    files = {column: train.column(column) for column in ("documents", "bytes", "xxh3_128", "sha256")}
    files["path"] = pc.binary_join_element_wise(prefix, train.column("path"), "/")
    tokens = np.ascontiguousarray(train.column("tokens").to_numpy(), np.int64)
    return SourceSupply(name, tokens, files=files)


def _check_facts(name: str, seen: Mapping[str, Any], tokenizer: TokenizerFacts, recipe: Recipe) -> None:
    if seen["format_version"] != MANIFEST_VERSION:
        raise IntegrityError(
            f"the manifest of {name!r} has format {seen['format_version']}; "
            f"this version reads {MANIFEST_VERSION}"
        )
    share = Fraction(seen["validation_share"])
    for what, wanted, found in (
        ("tokenizer sha256", tokenizer.sha256, seen["tokenizer_sha256"]),
        ("end-of-document id", tokenizer.eos_id, seen["eos_id"]),
        ("token width", tokenizer.token_width, seen["token_width"]),
        ("validation share", recipe.validation, share),
    ):
        if wanted != found:
            raise SourceError(
                f"the shards of {name!r} have {what} {found}, recipe {recipe.name!r} wants {wanted}; "
                "tokenize the source again with the recipe's settings"
            )
