"""RULER prompts: seconds for one prompt of each of the thirteen tasks, as a cold process and once it is warm.

    python benchmarks/bench_ruler.py [--length 128k]

Running text is 4 million characters of words drawn from the word lists (seeded), questions are made of them
in SQuAD's and HotpotQA's form: the work is that of real texts, whatever is on the machine. Prints the
distance of each length from the one asked for.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from smoleval.ruler.build import Spec, make_sample, material
from smoleval.ruler.material import load_words
from smoleval.ruler.tasks import TASKS, parse_length

CHARACTERS = 4_000_000
PASSAGES = 3_000


def write_material(folder: Path) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Write running text and two files of questions; return their paths."""
    chance, words = random.Random(1), load_words().all  # noqa: S311 - no secret

    def passage(count: int) -> str:
        return " ".join(
            word + ("." if at % 12 == 11 else "") for at, word in enumerate(chance.choices(words, k=count))
        )

    (folder / "text.txt").write_text(passage(CHARACTERS // 7))
    passages = [passage(120) + "." for _ in range(PASSAGES)]
    paragraphs = [
        {
            "context": one,
            "qas": [{"question": "Which?", "answers": [{"text": one[:9]}], "is_impossible": False}],
        }
        for one in passages
    ]
    (folder / "squad.json").write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}))
    pairs = [
        {"question": "Which?", "answer": a[:9], "context": [["A", [a]], ["B", [b]]]}
        for a, b in zip(passages[::2], passages[1::2], strict=True)
    ]
    (folder / "hotpot.json").write_text(json.dumps(pairs))
    sets = (("squad", str(folder / "squad.json")), ("hotpotqa", str(folder / "hotpot.json")))
    return str(folder / "text.txt"), sets


def cold(length: str, filler: str, sets: tuple[tuple[str, str], ...], out: Path) -> tuple[float, float]:
    """Return seconds, and of CPU, of the command for one prompt of each task, start of Python and all."""
    words = ["ruler", "build", "--length", length, "--count", "1", "--filler", filler, "--out", str(out)]
    for option, (_, path) in zip(("--qa-1", "--qa-2"), sets, strict=True):
        words += [option, path]
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "smoleval", *words], check=True, capture_output=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - begin, used.ru_utime + used.ru_stime


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--length", default="128k")
    length = parser.parse_args().length
    with tempfile.TemporaryDirectory() as name:
        filler, sets = write_material(Path(name))
        whole, busy = cold(length, filler, sets, Path(name) / "out")
        spec = Spec(parse_length(length), 2, filler=filler, questions=sets)
        parts = material(spec)
        rows = []
        for task in TASKS.values():
            make_sample(spec, task, 0, parts)  # counts of the pieces, once a run
            begin = time.perf_counter()
            sample = make_sample(spec, task, 1, parts)
            rows.append((task.name, time.perf_counter() - begin, spec.length - sample.length))
    print(f"| prompt of {length} tokens | seconds | tokens short |\n|---|---:|---:|")
    for name, seconds, short in rows:
        print(f"| {name} | {seconds:.3f} | {short} |")
    print(f"| all thirteen, with the start of the process and 4 MB of text | {whole:.1f} | |")
    print(f"| of that, CPU | {busy:.1f} | |")


if __name__ == "__main__":
    main()
