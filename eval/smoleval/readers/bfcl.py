"""The package bfcl-eval: a file of questions and one of accepted calls -> rows with both.

Categories without accepted calls say by their name whether a call is wanted: relevance, or irrelevance.
"""

import json
from collections.abc import Iterator
from typing import Any

from smoldata.errors import IntegrityError
from smoleval.functions import register


@register(version=1)
def questions(data: bytes, *answers: bytes) -> Iterator[dict[str, Any]]:
    """Yield questions of one turn with ``ground_truth``, or ``wanted`` where there is no list of calls."""
    truths = {
        row["id"]: row["ground_truth"] for file in answers for row in map(json.loads, file.splitlines())
    }
    for row in map(json.loads, data.splitlines()):
        if answers and row["id"] not in truths:
            raise IntegrityError(f"question {row['id']} of bfcl-eval has no accepted calls")
        turns = row["question"]
        if len(turns) == 1 and turns[0][-1]["role"] == "user":
            more = (
                {"ground_truth": truths[row["id"]]} if answers else {"wanted": "irrelevance" not in row["id"]}
            )
            yield row | more
