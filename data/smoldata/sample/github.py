"""Recorded answers of the GitHub API -> issues and pull requests as text.

PyGithub's test suite keeps what the API answered: blocks of lines, the JSON body on a line of its own. People are
named by order of appearance (``username_0``), as in the StarCoder2 data.
"""

import json
from collections.abc import Iterator
from typing import Any


def read_replayed(data: bytes, *, pulls: bool) -> Iterator[tuple[str, str, str]]:
    """Yield (part, URL, text) of the issues (or pull requests) in a recording, in order, each once."""
    seen: set[str] = set()
    for value in _bodies(data):
        for record in value if isinstance(value, list) else [value]:
            if isinstance(record, dict) and _is_wanted(record, pulls=pulls):
                url = str(record["html_url"])
                if url not in seen:
                    seen.add(url)
                    yield "/".join(url.split("/")[-4:]), url, _render(record)


def _bodies(data: bytes) -> Iterator[Any]:
    for line in data.decode("utf-8", errors="ignore").splitlines():
        if line.startswith(("{", "[")) and line.endswith(("}", "]")) and not line.startswith("[("):
            try:
                yield json.loads(line)
            except ValueError:
                continue


def _is_wanted(record: dict[str, Any], *, pulls: bool) -> bool:
    url = record.get("html_url")
    if not (isinstance(url, str) and isinstance(record.get("title"), str) and isinstance(record.get("body"), str)):
        return False
    return f"/{'pull' if pulls else 'issues'}/" in url and bool(record["body"].strip())


def _render(record: dict[str, Any]) -> str:
    lines = [f"Title: {record['title']}"]
    branch = record.get("base")
    if isinstance(branch, dict) and isinstance(branch.get("ref"), str):
        lines.append(f"Base: {branch['ref']}; commits: {record.get('commits', 'unknown')}")
    if record.get("state"):
        lines.append(f"Status: {record['state']}")
    body = record["body"].replace("\r\n", "\n").replace("\r", "\n").strip()
    lines += [f"username_0: {body}"]
    return "\n".join(lines) + "\n"
