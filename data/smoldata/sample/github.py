"""Recorded answers of the GitHub API -> issues and pull requests as text.

PyGithub's test suite keeps what the API answered: blocks of lines, the JSON body on a line of its own.
People are named by order of appearance (``username_0``), as in the StarCoder2 data.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

_LINES_BEFORE_BODY = 5
_FILES_OF_PULL = re.compile(r"/repos/([^/]+/[^/]+)/pulls/(\d+)/files")


def read_replayed(data: bytes, *, pulls: bool) -> Iterator[tuple[str, str, str]]:
    """Yield (part, URL, text) of the issues (or pull requests and changes) of a recording, each once."""
    seen: set[str] = set()
    for request, value in _answers(data):
        for part, url, text in _texts(request, value, pulls=pulls):
            if part not in seen:
                seen.add(part)
                yield part, url, text


def _answers(data: bytes) -> Iterator[tuple[str, Any]]:
    """Yield (path asked for, JSON answered): the path stands five lines before the body."""
    lines = data.decode("utf-8", errors="ignore").splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("{", "[")) and line.endswith(("}", "]")) and number >= _LINES_BEFORE_BODY:
            try:
                yield lines[number - _LINES_BEFORE_BODY], json.loads(line)
            except ValueError:
                continue


def _texts(request: str, value: Any, *, pulls: bool) -> Iterator[tuple[str, str, str]]:
    files = _FILES_OF_PULL.fullmatch(request.partition("?")[0])
    records = value if isinstance(value, list) else [value]
    if pulls and files:
        changes = [record for record in records if isinstance(record, dict) and record.get("patch")]
        if changes:
            text = "\n".join(f"{change['filename']}\n{change['patch']}" for change in changes)
            yield (
                f"{files[1]}/pull/{files[2]}/files",
                f"https://github.com/{files[1]}/pull/{files[2]}",
                text + "\n",
            )
        return
    for record in records:
        if isinstance(record, dict) and _is_wanted(record, pulls=pulls):
            url = str(record["html_url"])
            yield "/".join(url.split("/")[-4:]), url, _render(record)


def _is_wanted(record: dict[str, Any], *, pulls: bool) -> bool:
    url = record.get("html_url")
    if not (
        isinstance(url, str) and isinstance(record.get("title"), str) and isinstance(record.get("body"), str)
    ):
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
