"""A retraction on disk: ids of documents in; their tokens, a new plan folder and a certificate out.

Documents are found in the ``.docs.parquet`` sidecars of the plan's shards. The new plan's folder gets
``replacements.parquet``, ``retracted.parquet``, ``certificate.json`` and the same as text; ``plan.json`` is
written last, so a folder with one is whole. Same inputs, same bytes: no date, no machine.
Cost: one look at each sidecar, about a second a million documents.
"""

import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smoldata.errors import InputError, IntegrityError
from smoldata.files import write_atomic, write_json
from smolmix.plan import Plan
from smolmix.plan_files import write_plan
from smolmix.replacements import Replacement, Span
from smolmix.retract import Read, Retracted

CERTIFICATE: Final = "certificate.json"
CERTIFICATE_TEXT: Final = "certificate.txt"
RULE: Final = (
    "each sample index, from the step on, whose window holds a token of a retracted document reads another "
    "window of the same source: in ascending order, the next ones of the source's own endless sequence after "
    "the last that the plan draws, leaving out those that hold a retracted token or were put in before"
)
SCOPE: Final = (
    "whoever reads in the order of this plan (smoltrain, smolmix's exports) follows the replacements; "
    "nanotron's own loader reads whole folders of shards and does not"
)
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """A document to retract; without a source, every document of that id."""

    document: str
    source: str | None = None

    def __str__(self) -> str:
        """Return it as a line of an id file."""
        return self.document if self.source is None else f"{self.source}\t{self.document}"


def read_ids(path: Path) -> list[Wanted]:
    """Read one document a line: its id, or its source, a tab and its id. Empty lines are left out.

    Raises:
        InputError: the file cannot be read as UTF-8 text, or names nothing.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list of ids {path}: {error}") from error
    found = []
    for line in lines:
        source, tab, document = line.rstrip("\r").partition("\t")
        if line.strip():
            found.append(Wanted(document, source) if tab else Wanted(source))
    if not found:
        raise InputError(f"{path} names no document; write one id a line, or SOURCE, a tab and the id")
    return list(dict.fromkeys(found))


def find_spans(plans: Sequence[Plan], wanted: Collection[Wanted]) -> tuple[list[Span], list[Wanted]]:
    """Return where the training shards of a chain of plans hold the documents, and those not found.

    Raises:
        IntegrityError: a sidecar is missing or cannot be read.
    """
    ids = pa.array(sorted({one.document for one in wanted}), pa.string())
    asked = set(wanted)
    spans: set[Span] = set()
    met: set[Wanted] = set()
    sources = {one.source for one in wanted}
    for (source, ordinal), path in _sidecars(plans).items():
        if None not in sources and source not in sources:
            continue
        for begin, end, document in _rows_with(path, ids):
            named, unnamed = Wanted(document, source), Wanted(document)
            met |= asked & {named, unnamed}
            if named in asked or unnamed in asked:
                spans.add(Span(source, ordinal, begin, end, document))
    ordered = sorted(spans, key=lambda span: (span.source, span.shard, span.begin))
    return ordered, [one for one in wanted if one not in met]


def _sidecars(plans: Sequence[Plan]) -> dict[tuple[str, int], Path]:
    """Return the sidecar of each training shard, by source and ordinal."""
    found: dict[tuple[str, int], Path] = {}
    for plan in plans:
        assert plan.folder is not None, "a loaded plan"
        shards = plan.shards().select(["source", "ordinal", "path"]).to_pylist()
        found |= {
            (row["source"], row["ordinal"]): plan.folder / f"{row['path']}.docs.parquet"
            for row in shards
            if row["path"] is not None
        }
    return found


def _rows_with(path: Path, ids: Any) -> list[tuple[int, int, str]]:
    try:
        table = pq.read_table(path, columns=["begin", "end", "id"])
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(
            f"cannot read {path} ({error}): without it nobody can say what the shard holds; tokenize again"
        ) from error
    rows = table.filter(pc.is_in(table.column("id"), value_set=ids))
    return list(zip(*(rows.column(name).to_pylist() for name in ("begin", "end", "id")), strict=True))


def certificate(found: Retracted, spans: Sequence[Span], missing: Sequence[Wanted] = ()) -> dict[str, Any]:
    """Return what the certificate says."""
    plan, facts = found.plan, found.plan.retraction
    assert facts is not None, "a retracted plan"
    held: dict[tuple[str, str], list[Span]] = defaultdict(list)
    for span in spans:
        held[span.source, span.document or ""].append(span)
    seen, averted = (_by_document(reads) for reads in (found.seen, found.averted))
    documents = [
        {
            "source": source,
            "id": document,
            "tokens": sum(span.end - span.begin for span in listed),
            "places": [{"shard": span.shard, "begin": span.begin, "end": span.end} for span in listed],
            "read_before": seen.get((source, document), []),
            "would_have_been_read": averted.get((source, document), []),
        }
        for (source, document), listed in sorted(held.items())
    ]
    return {
        "format_version": 1,
        "plan": plan.name,
        "preset": plan.preset,
        "profile": plan.profile,
        "at_step": facts.at_step,
        "old_lock": facts.lock,
        "new_lock": plan.lock.hash,
        "rule": RULE,
        "scope": SCOPE,
        "documents": documents,
        "not_found": [str(one) for one in missing],
        "windows_replaced": [
            {
                "index": swap.after.index,
                "step": swap.after.index // plan.batch_windows,
                "source": swap.after.source,
                "before": _window(swap.before),
                "after": _window(swap.after),
            }
            for swap in found.swaps
        ],
    }


def _window(row: Replacement) -> dict[str, int]:
    return {"pass": row.pass_, "shard": row.shard, "window": row.window}


def _by_document(
    reads: Sequence[Read],
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for read in reads:
        row = {
            "stage": read.stage,
            "step": read.step,
            "curriculum_step": read.curriculum_step,
            "index": read.index,
            "pass": read.pass_,
            "shard": read.shard,
            "window": read.window,
        }
        found[read.source, read.document].append(row)
    return found


def certificate_text(facts: Mapping[str, Any]) -> str:
    """Return the certificate for people."""
    documents = facts["documents"]
    plan = f"{facts['plan']} ({facts['preset']})" if facts["preset"] else facts["plan"]
    lines = [
        f"Retraction of {len(documents):,} documents from plan {plan}, from step {facts['at_step']:,} on",
        "",
        f"old lock  {facts['old_lock']}",
        f"new lock  {facts['new_lock']}",
        f"windows replaced  {len(facts['windows_replaced']):,}",
        "",
        f"Rule: {facts['rule']}.",
        f"Scope: {facts['scope']}.",
        "Steps count from 0 in their stage, passes from 0.",
    ]
    for one in documents:
        before, after = one["read_before"], one["would_have_been_read"]
        lines += ["", f"{one['source']}\t{one['id']}: {one['tokens']:,} tokens"]
        lines.append(f"  read before: {len(before):,} windows{_listed(before)}")
        lines.append(f"  no longer to be read: {len(after):,} windows{_listed(after)}")
    if facts["not_found"]:
        lines += ["", "Not in the training shards: " + ", ".join(facts["not_found"])]
    return "\n".join(lines) + "\n"


def _listed(reads: Sequence[Mapping[str, Any]]) -> str:
    shown = [f"{read['stage']} step {read['step']:,} pass {read['pass']}" for read in reads[:_SHOWN]]
    more = f" and {len(reads) - _SHOWN:,} more, see {CERTIFICATE}" if len(reads) > _SHOWN else ""
    return (": " + ", ".join(shown) + more) if shown else ""


def write_retracted(plan: Plan, facts: Mapping[str, Any] | None, old_folder: Path, folder: Path) -> Path:
    """Write a retracted plan and its certificate; return the path of its ``plan.json``."""
    if folder.resolve() == old_folder.resolve():
        raise InputError(f"{folder} holds the plan before; name another folder, so that the past stays told")
    (folder / "plan.json").unlink(missing_ok=True)
    if facts is not None:
        write_json(folder / CERTIFICATE, facts)
        write_atomic(folder / CERTIFICATE_TEXT, certificate_text(facts))
    return write_plan(replace(plan, table=_moved(plan.table, old_folder, folder)), folder)


def _moved(table: Any, old: Path, new: Path) -> Any:
    """Return the shards with their paths relative to the new folder."""
    if old.resolve().parent == new.resolve().parent:
        return table
    paths = table.column("path").to_pylist()
    there = [path and Path(os.path.relpath(old.resolve() / path, new.resolve())).as_posix() for path in paths]
    number = table.schema.get_field_index("path")
    return table.set_column(number, table.schema.field(number), pa.array(there, pa.string()))
