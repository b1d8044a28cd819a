"""Speed of the web recipe: heuristics, MinHash and the whole way, against datatrove's stock blocks.

    python benchmarks/bench_curation.py
    python benchmarks/bench_curation.py --megabytes 2 --signatures 10000000

CPU seconds of one process with one thread, stock and ours in the same run on the same documents, which must
come out the same; the least of two or three rounds. The documents are English pages out of ../shared/data/web
or, where these are missing, the descriptions of installed packages. "First sight": a process that has seen no
text. "Steady": one that has read other text before, as every task but a tiny one has: how much of
the measured text was new to it is printed. Near-duplicates are clustered in a process of their own.
"""

import argparse
import contextlib
import gzip
import importlib.metadata
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["POLARS_MAX_THREADS"] = "1"
os.environ["LOGURU_LEVEL"] = "ERROR"

import numpy as np

SHARED = Path(__file__).parents[2] / "shared" / "data"
RECIPE = """
format_version: 1
name: bench
description: The web recipe from text on.
source: FineWeb
steps:
  - {step: web_heuristics, source: FineWeb}
  - {step: minhash_dedup, source: FineWeb}
  - {step: pii, source: FineWeb}
"""


def pages() -> list[str]:
    """Return the text of real English web pages."""
    from trafilatura import extract

    texts = []
    with tarfile.open(SHARED / "web" / "pages.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            html = file.read().decode("utf-8", "replace") if file else ""
            text = (
                extract(html, favor_precision=True, include_comments=False, deduplicate=True) if html else ""
            )
            words = (text or "").split()
            if text and words.count("the") > len(words) / 50:
                texts.append(text)
    return texts


def descriptions() -> list[str]:
    """Return the long descriptions of installed packages."""
    found = (str(package.metadata.get_payload() or "") for package in importlib.metadata.distributions())
    return sorted({text[:8000] for text in found if len(text) > 500})


def corpus(megabytes: float) -> tuple[list[str], list[str], str]:
    """Return documents to measure on, others to have read before, and what they are."""
    before = descriptions()
    if (SHARED / "web" / "pages.tar.xz").exists():
        measured, what = pages(), "English web pages"
        before += [*texts_of("boolq"), *texts_of("lambada_openai")]
    else:
        half = len(before) // 2
        measured, before, what = before[:half], before[half:], "descriptions of packages"
    total, chosen = 0, []
    for text in sorted(measured, key=hash_of):
        if total < megabytes * 1e6:
            chosen.append(text)
            total += len(text.encode())
    what = f"{len(chosen)} documents, {total / 1e6:.2f} MB: {what}; read before: "
    return chosen, before, what + f"{sum(len(text.encode()) for text in before) / 1e6:.1f} MB of others"


def hash_of(text: str) -> bytes:
    """Return what documents are ordered by."""
    import xxhash

    return xxhash.xxh3_64_digest(text.encode())


def texts_of(name: str) -> list[str]:
    """Return the longest text of each row of an evaluation set: running text."""
    with gzip.open(SHARED / "eval" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return list(dict.fromkeys(max(map(str, row.values()), key=len) for row in rows))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of a call, and its result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def best(rounds: int, prepare: Callable[[], Any], work: Callable[[Any], Any]) -> tuple[float, Any]:
    """Return the least CPU seconds of some rounds of ``work``, each on something new, and its result."""
    times = []
    for _ in range(rounds):
        fresh = prepare()
        seconds, result = timed(lambda fresh=fresh: work(fresh))
        times.append(seconds)
    return min(times), result


def show(name: str, seconds: float, texts: list[str], stock: float | None = None) -> None:
    """Print a figure; with ``stock``, how many times faster it is."""
    size = sum(len(text.encode()) for text in texts) / 1e6
    each, ratio = 1e3 * seconds / len(texts), f"   {stock / seconds:5.1f} x" if stock else ""
    print(f"  {name:<26} {seconds:7.2f} s  {size / seconds:7.3f} MB/s  {each:7.2f} ms each{ratio}")


def heuristics(texts: list[str], before: list[str]) -> None:
    """Compare the four heuristics."""
    from datatrove.data import Document
    from datatrove.pipeline import filters as stock
    from datatrove.pipeline.filters.base_filter import get_filter_result

    from smoldata.heuristics import WebHeuristics, shared_splitter

    chain = [
        stock.GopherRepetitionFilter(),
        stock.GopherQualityFilter(),
        stock.C4QualityFilter(filter_no_terminal_punct=False),
        stock.FineWebQualityFilter(),
    ]

    def outcome(filters: list[Any], text: str) -> tuple[bool, str | None, str]:
        document = Document(text=text, id="x")
        for each in filters:
            keep, reason = get_filter_result(each.filter(document))
            if not keep:
                return False, reason, document.text
        return True, None, document.text

    ours = [WebHeuristics()]
    few = "Tables and expressions are loaded by these few words. " * 10
    outcome(chain, few)

    def having_read(seen: list[str]) -> int:
        shared_splitter.cache_clear()
        for text in (few, *seen):
            outcome(ours, text)
        return shared_splitter("eng_Latn").remembered

    def decide(_: Any) -> list[Any]:
        return [outcome(ours, text) for text in texts]

    first, results = best(3, lambda: having_read([]), decide)
    known: list[int] = []
    steady, _ = best(2, lambda: known.append(having_read(before)), decide)
    fresh = shared_splitter("eng_Latn").remembered - known[-1]
    seconds, expected = best(2, lambda: None, lambda _: [outcome(chain, text) for text in texts])
    assert results == expected, "datatrove decides otherwise"
    chunks = sum(len(text.split()) for text in texts)
    print(
        f"four heuristics: same decision, reason and text for all; {sum(keep for keep, *_ in results)} kept"
    )
    show("datatrove", seconds, texts)
    show("ours, first sight", first, texts, seconds)
    show("ours, steady", steady, texts, seconds)
    print(f"  of {chunks:,} chunks {fresh / chunks:.1%} were new when steady")


def minhash(texts: list[str], before: list[str]) -> None:
    """Compare signatures."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    from smoldata.dedup.signatures import Signer

    with tempfile.TemporaryDirectory() as folder:
        stock = MinhashDedupSignature(folder, MinhashConfig())

        def sign(text: str) -> Any:
            shingles = stock.get_shingles(text)
            return stock.get_signature(shingles) if shingles.size else None

        few = "tables are loaded by these few words, and more of them"
        sign(few)

        def having_read(seen: list[str]) -> Signer:
            signer = Signer()
            for text in (few, *seen):
                signer.bands(text)
            return signer

        def signed(ours: Signer) -> list[Any]:
            return [ours.signature(text) for text in texts]

        first, results = best(3, lambda: having_read([]), signed)
        steady, _ = best(2, lambda: having_read(before), signed)
        seconds, expected = best(3, lambda: None, lambda _: [sign(text) for text in texts])
    same = [
        a is b is None or (a is not None and a.tolist() == b) for a, b in zip(results, expected, strict=True)
    ]
    assert all(same), "datatrove signs otherwise"
    print("MinHash signatures (14 x 8, five words): every value the same")
    show("datatrove, stage 1", seconds, texts)
    show("ours, first sight", first, texts, seconds)
    show("ours, steady", steady, texts, seconds)


def stock_recipe(source: Path, folder: Path) -> None:
    """Run datatrove's blocks, Parquet to Parquet: filters, four stages of MinHash, personal data."""
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline import filters
    from datatrove.pipeline.dedup import minhash as blocks
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter

    def run(name: str, pipeline: list[Any], tasks: int = 1) -> None:
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=str(folder / "logs" / name)).run()

    at = {name: str(folder / name) for name in ("filtered", "signatures", "buckets", "remove", "output")}
    chain = [
        filters.GopherRepetitionFilter(),
        filters.GopherQualityFilter(),
        filters.C4QualityFilter(filter_no_terminal_punct=False),
        filters.FineWebQualityFilter(),
    ]
    reader = ParquetReader(str(source))
    run("filter", [reader, *chain, ParquetWriter(at["filtered"])])
    run("sign", [ParquetReader(at["filtered"]), blocks.MinhashDedupSignature(at["signatures"])])
    run("buckets", [blocks.MinhashDedupBuckets(at["signatures"], at["buckets"])], tasks=14)
    run("cluster", [blocks.MinhashDedupCluster(at["buckets"], at["remove"])])
    last = [ParquetReader(at["filtered"]), blocks.MinhashDedupFilter(at["remove"]), PIIFormatter()]
    run("output", [*last, ParquetWriter(at["output"])])


def whole(texts: list[str], before: list[str]) -> None:
    """Compare the recipe, documents in to Parquet out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from smoldata.running import run_pipeline

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, documents in (("texts", texts), ("before", before)):
            (folder / name).mkdir()
            table = pa.table({"text": documents, "id": [str(number) for number in range(len(documents))]})
            pq.write_table(table, folder / name / "raw.parquet")
        recipe = folder / "recipe.yaml"
        recipe.write_text(RECIPE)

        def ours(name: str, output: str) -> Any:
            return run_pipeline(
                str(recipe), [str(folder / name)], folder / output, columns={"id": "id"}, tasks=1, workers=1
            )

        with contextlib.redirect_stderr(io.StringIO()):
            ours("before", "warm")
            steady, built = timed(lambda: ours("texts", "ours"))
            seconds, _ = timed(lambda: stock_recipe(folder / "texts", folder / "stock"))
        kept = sum(
            pq.read_metadata(path).num_rows for path in (folder / "stock" / "output").rglob("*.parquet")
        )
    print(f"whole recipe, documents in, Parquet out: {built.kept} kept of {built.read} (datatrove {kept})")
    show("datatrove", seconds, texts)
    show("ours, steady", steady, texts, seconds)


def shares(texts: list[str], before: list[str]) -> None:
    """Print where the time of the whole recipe goes."""
    from datatrove.data import Document
    from datatrove.pipeline.formatters import PIIFormatter

    from smoldata.dedup.signatures import Signer
    from smoldata.heuristics import WebHeuristics

    step, signer, personal = WebHeuristics(), Signer(), PIIFormatter()
    for text in before:
        step.filter(Document(text=text, id="x"))
        signer.bands(text)
    kept = []

    def filtered() -> None:
        for text in texts:
            document = Document(text=text, id="x")
            if step.filter(document) is True:
                kept.append(document.text)

    parts = {"heuristics": timed(filtered)[0]}
    parts["signatures"] = timed(lambda: [signer.bands(text) for text in kept])[0]
    parts["personal data"] = timed(lambda: [personal.format(text) for text in kept])[0]
    print("of these, on their own: " + ", ".join(f"{name} {value:.2f} s" for name, value in parts.items()))


def cluster(count: int) -> None:
    """Cluster made-up signatures, a fifth of them sharing a band with another, and print time and memory."""
    import polars as pl
    import pyarrow as pa

    from smoldata.dedup.keys import drop_near
    from smoldata.dedup.steps import MinhashSettings

    source = np.random.default_rng(6)
    keys = np.empty((count, 16), "<u8")
    for start in range(0, count, 1 << 20):
        part = keys[start : start + (1 << 20)]
        part[:] = source.integers(0, 2**64, part.shape, np.uint64)
    copies = source.integers(0, count, count // 5)
    for band in range(2, 16, 3):
        keys[copies, band] = keys[source.integers(0, count, len(copies)), band]
    data = pa.py_buffer(keys)
    offsets = pa.py_buffer(np.arange(count + 1, dtype=np.int64) * 128)
    binary = pa.LargeBinaryArray.from_buffers(pa.large_binary(), count, [None, offsets, data])
    numbers = np.arange(count)
    ids = pl.Series("id", numbers).cast(pl.String)
    frame = pl.DataFrame({"task": np.zeros(count, np.int64), "position": numbers, "id": ids, "key": binary})
    del keys, data, binary
    before = peak_gib()
    seconds, dropped = timed(lambda: drop_near(frame, MinhashSettings()))
    print(f"clusters of {count:,} signatures: {dropped.height:,} dropped, {seconds:.1f} CPU s, ", end="")
    print(f"peak memory {peak_gib():.2f} GiB ({before:.2f} before, while signatures were made up)")


def peak_gib() -> float:
    """Return the most memory that this process has held (Linux); unlike ru_maxrss, not its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**20


def main() -> None:
    """Run every part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=0.6)
    parser.add_argument("--signatures", type=int, default=500_000)
    parser.add_argument("--only-clusters", action="store_true")
    arguments = parser.parse_args()
    if arguments.only_clusters:
        cluster(arguments.signatures)
        return
    texts, before, what = corpus(arguments.megabytes)
    print(what)
    heuristics(texts, before)
    minhash(texts, before)
    whole(texts, before)
    shares(texts, before)
    sys.stdout.flush()
    command = [sys.executable, __file__, "--only-clusters", "--signatures", str(arguments.signatures)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
