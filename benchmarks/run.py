"""Run every benchmark and write what they print to ``benchmarks/results.md``.

    python benchmarks/run.py              all of them
    python benchmarks/run.py order        those whose name holds a word

Figures are of the machine that is named on top; ratios are of one run on it, and are what to compare.
"""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results.md"


def machine() -> str:
    """Return what the figures were taken on, without names."""
    load = os.getloadavg()[0]
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load:.1f}"
    )


def run(script: Path) -> str:
    """Run one benchmark and return its section; its output is shown as it comes."""
    print(f"== {script.stem}", flush=True)
    start = time.monotonic()
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None, "it was asked for"
        lines = []
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode != 0:
        sys.exit(f"{script.name} ended with {process.returncode}")
    about = script.read_text().split('"""')[1].splitlines()[0]
    seconds = time.monotonic() - start
    return f"## {script.stem}\n\n{about}\n\n```\n{''.join(lines)}```\n\n{seconds:.0f} s in all.\n"


def main() -> None:
    """Run the benchmarks whose name holds one of the words given; all without words."""
    words = sys.argv[1:]
    scripts = sorted(HERE.glob("bench_*.py"))
    chosen = [script for script in scripts if not words or any(word in script.stem for word in words)]
    sections = [run(script) for script in chosen]
    if len(chosen) == len(scripts):
        head = f"# Results\n\nWritten by `make bench`. {machine()}.\n"
        RESULTS.write_text("\n".join([head, *sections]))
        print(f"written: {RESULTS.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
