"""A plan's licences and lost tokens as findings: what a person must decide before the run.

At planning: the licences that the registry states, weighed by windows, and the tokens at the ends of shards
that fill no window. On request (``smolmix lint PLAN``) the licences of the documents themselves, which a
dataset of many origins states one by one. Cost: one numpy pass over the shards; documents: one column of
their files.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from smoldata.licences import LicenceClass
from smolmix import licences
from smolmix.findings import Finding
from smolmix.licences import Licensed
from smolmix.nanotron_folders import MUCH_LOST, remainder_finding
from smolmix.plan import Plan
from smolmix.shard_table import tokens_and_windows

if TYPE_CHECKING:
    from smoldata.registry import Registry


def examined(plan: Plan, registry: "Registry", forbidden: Collection[LicenceClass]) -> Plan:
    """Return a plan just made with the findings on its licences and on the remainders of its shards."""
    stated = {name: source.licence for name, source in registry.sources.items()}
    found = [*of_licences(plan, stated, forbidden), *of_remainders(plan)]
    return replace(plan, findings=(*plan.findings, *found))


def of_licences(
    plan: Plan, stated: Mapping[str, str | None], forbidden: Collection[LicenceClass]
) -> list[Finding]:
    """Return the findings on what the plan reads, by the licence that is stated of each source."""
    rows = [Licensed(one.name, stated.get(one.name), one.windows) for one in plan.sources]
    return licences.findings(rows, "windows", forbidden)


def of_documents(plan: Plan, forbidden: Collection[LicenceClass]) -> list[Finding]:
    """Return the findings on the documents of the sources that the plan reads; none without documents."""
    assert plan.folder is not None, "a loaded plan"
    names = [one.name for one in plan.sources if one.windows]
    # <profile>/plans/<name>, or the copy in <profile>/bundles/<name>/plan
    profiles = plan.folder.resolve().parents[1:3]
    places = [profile / "documents" for profile in profiles if (profile / "documents").is_dir()]
    rows = licences.of_documents(places[0], names) if places else []
    return licences.findings(rows, "documents", forbidden)


def of_remainders(plan: Plan) -> list[Finding]:
    """Return the findings on tokens that no window holds: one in all, one a source that loses much.

    Virtual shards have no remainder worth a word: their sizes are made up.
    """
    present = {one.name for one in plan.sources if one.status == "present" and one.windows}
    if not present:
        return []
    window = plan.sequence_length + 1
    columns = plan.shard_columns("source", "tokens", "windows")
    lost: dict[str, tuple[int, int, int, int]] = {}
    for name, (tokens, windows) in tokens_and_windows(columns).items():
        if name in present:
            whole, empty = int(tokens.sum()), int(np.count_nonzero(windows == 0))
            lost[name] = whole - int(windows.sum()) * window, whole, tokens.size, empty
    found = []
    if any(row[0] for row in lost.values()):
        found.append(remainder_finding(None, *_sums(lost), plan.sequence_length))
    found += [
        remainder_finding(name, *row, plan.sequence_length)
        for name, row in lost.items()
        if row[0] > MUCH_LOST * row[1]
    ]
    return found


def _sums(rows: Mapping[str, tuple[int, int, int, int]]) -> tuple[int, int, int, int]:
    first, second, third, fourth = (sum(column) for column in zip(*rows.values(), strict=True))
    return first, second, third, fourth


def lint_plan(folder: Path, forbidden: Collection[LicenceClass]) -> list[Finding]:
    """Return a plan's own findings, those on its documents' licences, and on what is forbidden besides."""
    from smolmix.plan import load_plan

    plan = load_plan(folder)
    return [*plan.findings, *of_documents(plan, forbidden)]
