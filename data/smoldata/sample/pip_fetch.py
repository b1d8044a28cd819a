"""Run as a program: fetch package archives through pip's own index client, without building anything.

``pip download`` runs an sdist's build code to learn its metadata. Here pip only finds and transfers files:
its finder and session bring the user's index, mirrors, find-links, proxies, certificates and credentials.
Reads a JSON list of ``[package, version, file, target]`` from standard input; prints one JSON line an
archive, ``{"file", "error"}``. pip's internals are used (the same names from pip 20 to 26), in this process
alone.
"""

import json
import logging
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from smoldata.workers import watch_parent

_THREADS = 4
_BLOCK_BYTES = 1 << 18


def main() -> None:
    """Fetch what standard input asks for."""
    from pip._internal.commands import create_command

    watch_parent()
    requests: list[list[str]] = json.load(sys.stdin)
    command: Any = create_command("download")
    options, _ = command.parse_args(["--no-deps", "--quiet", "nothing"])
    logging.getLogger("pip").setLevel(logging.ERROR)
    with command.main_context():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session, ignore_requires_python=True)  # noqa: SLF001
        with ThreadPoolExecutor(_THREADS) as pool:
            for file, error in pool.map(lambda request: _attempt(finder, session, *request), requests):
                print(json.dumps({"file": file, "error": error}), flush=True)


def _attempt(
    finder: Any, session: Any, package: str, version: str, file: str, target: str
) -> tuple[str, str]:
    try:
        _transfer(session, _find(finder, package, version, file), Path(target))
    except Exception as error:  # noqa: BLE001 - reported to the parent, which raises
        return file, f"{type(error).__name__}: {error}"
    return file, ""


def _find(finder: Any, package: str, version: str, file: str) -> str:
    candidates = finder.find_all_candidates(package)
    for candidate in candidates:
        if candidate.link.filename == file:
            return str(candidate.link.url_without_fragment)
    versions = sorted({str(candidate.version) for candidate in candidates})
    message = (
        f"your package index has no {file} ({package} {version}; it has {', '.join(versions[-5:]) or 'none'})"
    )
    raise LookupError(message)


def _transfer(session: Any, url: str, target: Path) -> None:
    # The parent names `target` with its temporary suffix, verifies the sha256 and renames.
    with session.get(url, headers={"Accept-Encoding": "identity"}, stream=True) as response:
        response.raise_for_status()
        with target.open("wb") as out:
            # Undecoded: some servers label the archive's own gzip as a transfer encoding.
            if hasattr(response.raw, "stream"):
                out.writelines(response.raw.stream(_BLOCK_BYTES, decode_content=False))
            else:  # a file:// address, such as find-links
                shutil.copyfileobj(response.raw, out, _BLOCK_BYTES)


if __name__ == "__main__":
    main()
