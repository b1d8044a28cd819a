"""Decontamination: MB of text a CPU second beside datatrove's filter, and how many planted items are found.

    python benchmarks/bench_decontaminate.py                     items are docstrings of the standard library
    python benchmarks/bench_decontaminate.py --benchmarks DIR    items of evaluation sets

Documents are installed packages' sources and texts. An item is planted whole, in other case and punctuation,
into each document of a second copy; a clean copy says how many are found that were not planted. datatrove's
filter gets the same items (13-grams, questions, answers and borders) and a part of the same text. Both run
three rounds in turn; the best of each counts. What is installed decides the documents.
"""

import argparse
import ast
import os
import random
import sysconfig
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from smoldata.decontamination.benchmarks import Item, read_benchmarks
from smoldata.decontamination.index import build_index
from smoldata.decontamination.match import find_matches

MEGABYTES = 20
DATATROVE_MEGABYTES = 0.5
ROUNDS = 3
LONGEST = 200_000


def documents(megabytes: float) -> list[str]:
    """Return texts of installed packages, in the order of their paths."""
    found: list[str] = []
    size = 0
    for path in sorted(Path(sysconfig.get_path("purelib")).rglob("*")):
        if path.suffix not in {".py", ".md", ".rst", ".txt"} and path.name != "METADATA":
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        if 500 < len(text) < LONGEST:
            found.append(text)
            size += len(text.encode())
        if size > megabytes * 1e6:
            break
    return found


def docstrings() -> list[Item]:
    """Return items made of docstrings of the standard library: paragraphs as question and answer."""
    items = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef | ast.ClassDef) else None
            if text and len(text.split()) >= 30:
                question, _, answer = text.partition("\n\n")
                items.append(
                    Item("docstrings", f"{path.stem}:{node.lineno}", question, (answer,) if answer else ())
                )
    return items


def planted(texts: list[str], items: list[Item]) -> tuple[list[str], list[Item]]:
    """Return the texts with an item each, and the items."""
    choice = random.Random(6)  # noqa: S311 - places of plants, no secret
    chosen = choice.choices(items, k=len(texts))
    made = []
    for text, item in zip(texts, chosen, strict=True):
        at = choice.randrange(len(text))
        whole = "\n".join([item.question, *item.answers[:1]])
        disguised = "".join(
            choice.choice([str.upper, str.lower, str.title])(word) + "; " for word in whole.split()
        )
        made.append(f"{text[:at]} ~ {disguised} ~ {text[at:]}")
    return made, chosen


def datatrove_speed(items: list[Item], texts: list[str]) -> float:
    """Return MB a CPU second of datatrove's filter."""
    from datatrove.data import Document
    from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer

    NGramsDecontIndexer._requires_dependencies = []  # noqa: SLF001 - lighteval is not needed to hash
    config = NGramsDecontConfig(n_grams=13, find_query_ngrams=True, find_overlap_ngrams=True)
    indexer = NGramsDecontIndexer(output_folder="memory://unused", config=config)
    hashes = {
        value
        for item in items[:200]
        for answer in item.answers or ("",)
        for value in indexer.compute_hashes(answer, item.question)
    }
    keep = NGramsDecontFilter(index_folder="memory://unused", config=config)
    keep._index_hashes = dict.fromkeys(hashes, "all")  # noqa: SLF001 - it reads them from files otherwise
    start = time.process_time()
    for text in texts:
        keep.filter(Document(text=text, id=""))
    return sum(len(text.encode()) for text in texts) / 1e6 / (time.process_time() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmarks", type=Path)
    parser.add_argument("--megabytes", type=float, default=MEGABYTES)
    given = parser.parse_args()
    items = read_benchmarks([given.benchmarks]) if given.benchmarks else docstrings()
    texts = documents(given.megabytes)
    size = sum(len(text.encode()) for text in texts) / 1e6
    start = time.process_time()
    index = build_index(items)
    seconds = time.process_time() - start
    grams = sum(len(seeds.hashes) for seeds in index.seeds)
    lost = sum(index.missing.values())
    print(f"index: {len(items):,} items, {grams:,} n-grams, {seconds:.1f} s; {lost:,} cannot be looked for")
    part = documents(DATATROVE_MEGABYTES)
    speed = theirs = 0.0
    for _ in range(ROUNDS):
        start = time.process_time()
        clean = dict(find_matches(texts, index))
        speed = max(speed, size / (time.process_time() - start))
        theirs = max(theirs, datatrove_speed(items, part))
    print(f"{len(texts):,} documents, {size:.1f} MB: {speed:.0f} MB a CPU second")
    print(f"found without planting: {len(clean):,} documents")
    print(f"datatrove's filter: {theirs:.2f} MB a CPU second; ours is {speed / theirs:.0f} times as fast")
    dirty, chosen = planted(texts, items)
    found = dict(find_matches(dirty, index))
    known = {(target.item.benchmark, target.item.id) for target in index.targets}
    wanted = [at for at, item in enumerate(chosen) if (item.benchmark, item.id) in known]
    hits = sum(
        any((one.benchmark, one.item) == (chosen[at].benchmark, chosen[at].id) for one in found.get(at, ()))
        for at in wanted
    )
    print(f"planted: {hits:,} of {len(wanted):,} items found by name, {hits / len(wanted):.2%}")


if __name__ == "__main__":
    main()
