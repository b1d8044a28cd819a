"""Memory of tokenization: one documents file of 550 MB of text, and one document of 200 MB.

    python benchmarks/bench_tokenize_memory.py

Each is made into shards by a process of its own; its peak is what the kernel saw resident at once.
"""

import tempfile
from pathlib import Path

from bench_tokenize import make_documents, measure, texts_below
from bench_tokenize_workers import roots

FILE_MB, DOCUMENT_MB = 550, 200
LIMIT_MB = 1536


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = texts_below(roots(), FILE_MB)
        make_documents(folder / "file", "text", {"00000.parquet": texts})
        document = "\n".join(texts)[: DOCUMENT_MB * 1_000_000]
        make_documents(folder / "document", "text", {"00000.parquet": [document, "a short one"]})
        del texts, document
        for what in ("file", "document"):
            result = measure("build", folder / what, 1)
            print(
                f"one {what} of {result['mb']:.0f} MB: peak {result['peak_mb']:.0f} MB (wanted: {LIMIT_MB})"
            )


if __name__ == "__main__":
    main()
