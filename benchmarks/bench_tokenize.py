"""Speed and memory of tokenization: documents to finished shards, beside the bare engine and datatrove.

    python benchmarks/bench_tokenize.py                       text of the installed packages, up to 150 MB
    python benchmarks/bench_tokenize.py --documents FOLDER    documents that are there already
    python benchmarks/bench_tokenize.py --grow 1000           memory of the engine over so many MB

Every figure comes from a fresh process with one thread, so engine caches are cold; CPU seconds are those
of the process after its tokenizer is loaded. datatrove's step gets the same documents up to
``--datatrove-mb``, because it is some hundred times slower. Ratios are of MB of text a CPU-second, in
this one run.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

ONE_THREAD = dict.fromkeys(
    ("RAYON_NUM_THREADS", "FASTOKENS_BPE_THREADS", "OMP_NUM_THREADS", "ARROW_NUM_THREADS"), "1"
) | {"TOKENIZERS_PARALLELISM": "false", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""The tunable is what workers run under; the bare engine and a single worker get it too, to be compared."""
SUFFIXES = {
    ".py",
    ".pyi",
    ".md",
    ".rst",
    ".txt",
    ".h",
    ".js",
    ".json",
    ".html",
    ".css",
    ".c",
    ".sql",
    ".toml",
}
FILES = 8
LONGEST = 2_000_000
"""Characters; longer files are data."""
ROUNDS = 5


def texts_below(roots: Sequence[Path], megabytes: int) -> list[str]:
    """Return the text files below some folders, each text once, up to a size."""
    seen: set[int] = set()
    texts: list[str] = []
    total = 0
    for path in (path for root in roots for path in sorted(root.rglob("*"))):
        if (path.suffix not in SUFFIXES and path.name != "METADATA") or path.is_symlink():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        if text and len(text) < LONGEST and hash(text) not in seen:
            seen.add(hash(text))
            texts.append(text)
            total += len(text)
        if total > megabytes * 1_000_000:
            break
    return texts


def make_documents(folder: Path, source: str, files: dict[str, list[str]]) -> None:
    """Write a documents folder as the tests do."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "tokenize"))
    import conftest

    conftest.make_documents(folder, source, files)


def corpus(folder: Path, megabytes: int) -> None:
    """Write documents from the text files of this environment, each once, in one source."""
    texts = texts_below([Path(sysconfig.get_paths()[name]) for name in ("purelib", "stdlib")], megabytes)
    make_documents(folder, "installed", {f"{i:05d}.parquet": texts[i::FILES] for i in range(FILES)})


def sources_of(documents: Path) -> list[str]:
    """Return the sources of a documents folder."""
    return sorted(path.parent.name for path in documents.glob("*/manifest.parquet"))


def texts_of(documents: Path, limit: float) -> Iterator[list[str]]:
    """Yield batches of texts, up to so many bytes."""
    from smoltok.sources import document_files, read_texts

    for source in sources_of(documents):
        for file in document_files(documents / source):
            for batch in read_texts(documents / source / file.path):
                yield batch.texts()
                limit -= int(batch.text_bytes().sum())
                if limit < 0:
                    return


def figures(start_cpu: float, start: float, text_bytes: int) -> dict[str, float]:
    """Return what one measurement is worth."""
    cpu = time.process_time() - start_cpu
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "mb": text_bytes / 1e6,
        "cpu_s": cpu + children.ru_utime + children.ru_stime,
        "wall_s": time.perf_counter() - start,
        "peak_mb": peak_mb(),
        "worker_peak_mb": children.ru_maxrss / 1024,
    }


def peak_mb() -> float:
    """Return the most memory this process held; getrusage would count the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def bare(documents: Path, _: float) -> dict[str, float]:
    """Encode the texts, already in memory, with the engine alone."""
    from smoltok import LLAMA_3_2
    from smoltok.engines import load

    engine, batches = load(LLAMA_3_2), list(texts_of(documents, 1e18))
    size = sum(len(text.encode()) for batch in batches for text in batch)
    cpu, start = time.process_time(), time.perf_counter()
    for batch in batches:
        engine.encode_flat(batch)
    return figures(cpu, start, size)


def build(documents: Path, workers: float) -> dict[str, float]:
    """Make the shards, with validation, sidecars, hashes and manifest."""
    from smoltok import LLAMA_3_2
    from smoltok.build import build_all
    from smoltok.engines import load

    if workers == 1:
        load(LLAMA_3_2)
    with tempfile.TemporaryDirectory(dir=documents.parent) as folder:
        cpu, start = time.process_time(), time.perf_counter()
        reports = build_all(
            sources_of(documents),
            documents=documents,
            tokens=Path(folder),
            validation_share=Fraction(1, 100),
            workers=int(workers),
        )
        return figures(cpu, start, sum(report.text_bytes for report in reports))


def datatrove(documents: Path, megabytes: float) -> dict[str, float]:
    """Run datatrove's reader and DocumentTokenizer on the first documents."""
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    from smoltok import LLAMA_3_2
    from smoltok.control import llama_names
    from smoltok.vocabulary import model_json

    size, rows = 0, 0
    for batch in texts_of(documents, megabytes * 1e6):
        size, rows = size + sum(len(text.encode()) for text in batch), rows + len(batch)
    with tempfile.TemporaryDirectory(dir=documents.parent) as folder:
        model = json.loads(model_json(LLAMA_3_2, reachable_only=False))
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        model["added_tokens"] = [{"id": i, "content": name, **flags} for i, name in llama_names().items()]
        path = Path(folder) / "tokenizer.json"
        path.write_text(json.dumps(model))
        eos = llama_names()[LLAMA_3_2.eos_id]
        step = DocumentTokenizer(f"{folder}/out", str(path), eos_token=eos, shuffle_documents=False)
        assert step.tokenizer
        reader = ParquetReader(str(documents), glob_pattern="*/0*.parquet", limit=rows)
        cpu, start = time.process_time(), time.perf_counter()
        step.run(reader.run())
        return figures(cpu, start, size)


def verify(documents: Path, _: float) -> dict[str, float]:
    """Verify finished shards, and take sha256 of the same files, as a ratio."""
    from smoldata.files import sha256
    from smoltok.build import build_all
    from smoltok.verify import verify as verify_folders

    with tempfile.TemporaryDirectory(dir=documents.parent) as folder:
        tokens = Path(folder)
        build_all(
            sources_of(documents), documents=documents, tokens=tokens, validation_share=Fraction(1, 100)
        )
        files = [path for path in tokens.rglob("*.ds*") if path.is_file()]
        cpu = time.process_time()
        for path in files:
            sha256(path)
        hashed, cpu = time.process_time() - cpu, time.process_time()
        assert not verify_folders([tokens]).findings
        verified = time.process_time() - cpu
        size = sum(path.stat().st_size for path in files) / 1e6
    return {
        "mb": size,
        "sha256_mb_s": size / hashed,
        "verify_mb_s": size / verified,
        "ratio": hashed / verified,
    }


def start_up(_: Path, __: float) -> dict[str, float]:
    """Load everything and encode one text, with the self-test's verdict kept."""
    start = time.perf_counter()
    import smoltok

    smoltok.encode(["first"])
    return {"wall_s": time.perf_counter() - start}


def grow(documents: Path, megabytes: float) -> dict[str, float]:
    """Encode the texts again and again, cut at another place each time; return memory at both ends."""
    from smoltok import LLAMA_3_2
    from smoltok.engines import load

    engine, done, turn, early = load(LLAMA_3_2), 0, 0, 0.0
    while done < megabytes * 1e6:
        turn += 1
        for batch in texts_of(documents, 1e18):
            # Reversed words are new words: no turn may profit from the one before it.
            changed = [
                " ".join(word[turn % 5 :: -1] + word[turn % 5 + 1 :] for word in t.split(" ")) for t in batch
            ]
            engine.encode_flat(changed)
            done += sum(len(text.encode()) for text in changed)
        early = early or resident_mb()
    return {"mb": done / 1e6, "after_first_turn_mb": early, "at_the_end_mb": resident_mb()}


def resident_mb() -> float:
    """Return the memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


PARTS: dict[str, Callable[[Path, float], dict[str, float]]] = {
    part.__name__: part for part in (bare, build, datatrove, verify, start_up, grow)
}


def measure(part: str, documents: Path, argument: float) -> dict[str, float]:
    """Run one part in a fresh process with one thread a process."""
    command = [
        sys.executable,
        __file__,
        "--part",
        part,
        "--documents",
        str(documents),
        "--argument",
        str(argument),
    ]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{part:<10} {' '.join(f'{key} {value:,.2f}' for key, value in result.items())}", flush=True)
    return result


def median(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the row with the median CPU time."""
    return sorted(rows, key=lambda row: row["cpu_s"])[len(rows) // 2]


def main() -> None:
    """Measure everything and print the ratios that matter."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=Path)
    parser.add_argument("--mb", type=int, default=150, help="size of the text of installed packages")
    parser.add_argument("--datatrove-mb", type=float, default=8.0, help="text that datatrove's step gets")
    parser.add_argument(
        "--grow", type=float, default=0.0, help="MB of text to watch the engine's memory over"
    )
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--argument", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part](options.documents, options.argument)))
        return
    with tempfile.TemporaryDirectory() as folder:
        documents = options.documents or Path(folder) / "documents"
        if options.documents is None:
            corpus(documents, options.mb)
        if options.grow:
            measure("grow", documents, options.grow)
            return
        rounds = [{part: measure(part, documents, 1) for part in ("bare", "build")} for _ in range(ROUNDS)]
        results = {part: median([row[part] for row in rounds]) for part in ("bare", "build")}
        results |= {part: measure(part, documents, 1) for part in ("verify", "start_up")}
        results["datatrove"] = measure("datatrove", documents, options.datatrove_mb)
        two = measure("build", documents, 2)
    speed = {part: row["mb"] / row["cpu_s"] for part, row in results.items() if "cpu_s" in row}
    print(*(f"{part} {value:.2f} MB/CPU-s" for part, value in speed.items()), sep=", ")
    ratios = sorted(row["bare"]["cpu_s"] / row["build"]["cpu_s"] for row in rounds)
    print(
        f"build / bare engine   {speed['build'] / speed['bare']:.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f} in {ROUNDS} rounds)"
    )
    print(f"build / datatrove     {speed['build'] / speed['datatrove']:.1f}")
    print(f"two workers, wall     {results['build']['wall_s'] / two['wall_s']:.2f} (their start included)")


if __name__ == "__main__":
    main()
