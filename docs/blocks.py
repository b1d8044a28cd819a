"""Output blocks in the documents: produced by running, compared in CI.

A fenced block that opens with ```` ```console ```` holds commands (lines that start with ``$ ``),
each followed by what it prints on standard output. ``python docs/blocks.py`` runs them and compares;
``--write`` puts the new output in. Commands run from the root of the project, without a shell.
"""

import argparse
import difflib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COLUMNS = "160"


def run(command: str) -> str:
    """Return what a command prints on standard output; fail loudly when the command does."""
    environment = os.environ | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": COLUMNS}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        shlex.split(command), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{command!r} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return "\n".join(line.rstrip() for line in done.stdout.splitlines())


def renew(block: str) -> str:
    """Return a block with every command's output as it is now."""
    commands = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    return "".join(
        f"$ {command}\n{output}\n" if (output := run(command)) else f"$ {command}\n" for command in commands
    )


def main() -> int:
    """Compare or rewrite the blocks of the files given, by default of every Markdown file of the project."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--write", action="store_true", help="put the new output into the files")
    arguments = parser.parse_args()
    listing = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = arguments.files or [ROOT / name for name in listing.stdout.splitlines()]
    drifted = 0
    for file in files:
        old = file.read_text()
        new = BLOCK.sub(lambda match: f"```console\n{renew(match[1])}```", old)
        if new == old:
            continue
        drifted += 1
        if arguments.write:
            file.write_text(new)
        else:
            lines = (text.splitlines(keepends=True) for text in (old, new))
            sys.stdout.writelines(difflib.unified_diff(*lines, str(file), "as it runs now"))
    print(f"{len(files)} documents, {drifted} {'rewritten' if arguments.write else 'out of date'}")
    return int(bool(drifted) and not arguments.write)


if __name__ == "__main__":
    sys.exit(main())
