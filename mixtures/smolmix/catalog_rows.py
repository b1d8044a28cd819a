"""Plans, registry and reconciliation as rows of the catalog's small tables.

Cost: one statement a table and plan; a plan has a row a source and finding.
"""

import json
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb

from smoldata.errors import IntegrityError
from smoldata.registry import Registry
from smolmix.literals import fraction_text
from smolmix.plan import Plan

_PLAN_FORMAT = 1


def read_plan(path: Path) -> dict[str, Any]:
    """Return ``plan.json`` as a dictionary; refuse a file that is broken or of another format."""
    try:
        plan: dict[str, Any] = json.loads(Path(path).read_text("utf-8"))
        version = plan["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{path} cannot be read as a plan ({error}); run `make mixture` again"
        ) from error
    if version != _PLAN_FORMAT:
        raise IntegrityError(
            f"{path} has format_version {version}, this code reads {_PLAN_FORMAT}; run `make mixture` again"
        )
    return plan


def load_plan_rows(connection: duckdb.DuckDBPyConnection, profile: str, path: Path) -> None:
    """Add a plan: its stage, its sources, its findings. Raises IntegrityError."""
    plan, name = read_plan(path), path.parent.name
    stage = _stage_row(plan)
    insert(connection, "stages", [(profile, name, *stage)])
    insert(connection, "allocation", [(profile, name, *row) for row in _allocation_rows(plan)])
    insert(
        connection,
        "findings",
        [
            (profile, name, one["severity"], one["code"], one["source"], one["message"], one["fix"])
            for one in plan["findings"]
        ],
    )


def _stage_row(plan: dict[str, Any]) -> tuple[Any, ...]:
    budget, tokenizer, follows = plan["budget"], plan["tokenizer"], plan["follows"] or {}
    plain = ("name", "preset", "unit", "sequence_length", "batch_windows", "steps", "windows", "tokens")
    return (
        *(plan[key] for key in plain),
        plan["start_step"],
        *(budget[key] for key in ("asked", "asked_tokens", "remainder_tokens", "why")),
        follows.get("name"),
        follows.get("lock"),
        plan["seed"],
        plan["validation_share"],
        tokenizer["name"],
        tokenizer["sha256"],
        plan["prefix_bound"],
        plan["lock"]["hash"],
    )


def _allocation_rows(plan: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for one in plan["sources"]:
        yield (
            plan["name"],
            plan["preset"],
            *(one[key] for key in ("name", "domain", "group", "status", "published_weight", "weight")),
            float(100 * Fraction(one["weight"])),
            *(one[key] for key in ("windows", "tokens", "shards", "capacity_windows", "offset_windows")),
            *(one[key] for key in ("held_back_windows", "first_shard_offset", "passes_before", "passes")),
            _decimal(one["passes_before"]),
            _decimal(one["passes"]),
        )


def _decimal(text: str | None) -> float | None:
    return None if text is None else float(Fraction(text))


def load_reconciliation(connection: duckdb.DuckDBPyConnection, build: Path, plans: Sequence[Plan]) -> None:
    """Add the shares of the blog and of the released files beside those planned and consumed."""
    from smolmix.plan_files import plan_label
    from smolmix.recipe import load_recipe, shipped_recipes
    from smolmix.reconcile import reconcile

    recipes = {
        name: load_recipe(name) for name in shipped_recipes() if any(plan.name == name for plan in plans)
    }
    for plan in plans:
        label = (plan.profile, plan_label(plan), plan.name)
        ledger = find_ledger(build / plan.profile, plan.lock.hash)
        shares = reconcile([plan], {plan.name: ledger} if ledger else None, recipes=recipes).shares
        total = sum(one.consumed or 0 for one in shares if one.source is not None)
        rows = []
        for one in shares:
            exact = (one.blog, one.released, one.planned)
            texts = [None if share is None else fraction_text(share) for share in exact]
            percents = [None if share is None else float(100 * share) for share in exact]
            drawn = None if one.consumed is None or not total else float(Fraction(100 * one.consumed, total))
            counts = (one.windows, one.tokens, one.tokenized, one.consumed)
            rows.append((*label, one.domain, one.source, *texts, *percents, drawn, *counts))
        insert(connection, "reconciliation", rows)


def find_ledger(profile: Path, lock: str) -> Path | None:
    """Return the ledger of that plan's run which consumed most (docs/formats.md, "Run"); None: no run."""
    found: list[tuple[int, str, Path]] = []
    for path in sorted(profile.glob("runs/*/run.json")):
        segments = sorted(path.parent.glob("ledger/steps-*.parquet"))
        if segments and json.loads(path.read_text("utf-8"))["settings"]["lock"] == lock:
            found.append(
                (int(segments[-1].stem.rpartition("-")[2]), path.parent.name, path.parent / "ledger")
            )
    return max(found)[2] if found else None


def load_registry_rows(connection: duckdb.DuckDBPyConnection, registry: Registry) -> None:
    """Add what is published about each source."""
    rows = []
    for one in registry.sources.values():
        dataset = (one.hub.dataset, one.hub.config, one.hub.revision) if one.hub else (None, None, None)
        size = (one.size.tokens, one.size.tokenizer, one.size.confidence) if one.size else (None, None, None)
        rows.append((one.name, one.domain, one.group, *dataset, one.licence, one.language, *size))
    insert(connection, "registry", rows)


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows of text and numbers in one statement (one a row takes 5 ms each)."""
    if rows:
        marks = ", ".join(f"({', '.join('?' * len(rows[0]))})" for _ in rows)
        values = [value for row in rows for value in row]
        connection.execute(f"INSERT INTO store.{table} VALUES {marks}", values)  # noqa: S608 - our own names
