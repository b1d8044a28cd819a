"""Rows without reasoning -> prompts; replies of teachers -> Parquet in the hub's layout, drops counted.

``<out>/SFT/<name>.parquet`` holds the traces, ``<out>/Preference/<name>.parquet`` the pairs, when a weak
teacher is asked as well; ``<out>/traces.json`` says what was asked and dropped, and is written last. A recipe
of rows reads the folder like any other (:class:`smoltrain.post.sources.FolderSource`).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smoldata.errors import SourceError
from smoldata.files import atomic_path, write_json
from smoltrain.post.traces import Limits, Prompt, Teacher, ask_all, kept_rows, pair_rows

FACTS = "traces.json"
_STATED = re.compile(r"(?:the answer is:?\s*\(?)([^\s().]+)\)?\.?\s*\Z", re.IGNORECASE)


def prompts_of(path: Path, limit: int | None = None) -> list[Prompt]:
    """Return the questions of a Parquet file of conversations: first user turns of single exchanges.

    The right answer is known where the stored answer ends with "The answer is X.". Raises SourceError when
    the file has no conversations.
    """
    try:
        rows = pq.read_table(path, columns=["messages"])["messages"].to_pylist()
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise SourceError(f"cannot read conversations from {path}: {error}") from error
    found = []
    for number, turns in enumerate(rows):
        spoken = [turn for turn in turns if turn["role"] != "system"]
        if [turn["role"] for turn in spoken] == ["user", "assistant"]:
            stated = _STATED.search(spoken[1]["content"].strip())
            answer = stated[1] if stated else None
            found.append(Prompt(f"{path.stem}/{number}", spoken[0]["content"], answer))
    return found[:limit]


def make_traces(
    prompts: Sequence[Prompt],
    teacher: Teacher,
    out: Path,
    *,
    name: str = "traces_think",
    weak: Teacher | None = None,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Ask the teacher, and the weak one for pairs; write what is kept; return the record."""
    strong = ask_all(prompts, teacher, out / "teacher", limits)
    rows, dropped = kept_rows(strong, teacher)
    _write(out / "SFT" / f"{name}.parquet", rows)
    facts: dict[str, Any] = {
        "format_version": 1,
        "teacher": teacher.settings(),
        "asked": len(strong),
        "kept": len(rows),
        "dropped": dropped,
    }
    if weak is not None:
        other = ask_all(prompts, weak, out / "weak", limits)
        pairs, lost = pair_rows(strong, other, (teacher, weak))
        _write(out / "Preference" / f"{name}.parquet", pairs)
        facts |= {"weak": weak.settings(), "pairs": len(pairs), "pairs_dropped": lost}
    write_json(out / FACTS, facts)
    return facts


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows; when nothing is kept, remove what an earlier run wrote."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    from smoltrain.post.schemas import MESSAGES
    from smoltrain.post.sources import hub_schema

    with atomic_path(path) as temporary:
        table = pa.Table.from_pylist(rows, schema=hub_schema(rows[0], MESSAGES))
        pq.write_table(table, temporary, compression="zstd")
