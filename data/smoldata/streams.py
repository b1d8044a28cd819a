"""A file of lines, plain or compressed, local or remote -> its lines; a cut or damaged file is an error.

Both gzip and zstd say where a frame ends; a file that ends before its frame does is cut. Blocks of 256 KiB.
"""

import bz2
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from smoldata.errors import SourceError

_BLOCK_BYTES = 1 << 18
_JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")


def read_lines(path: str) -> Iterator[bytes]:
    """Yield lines with their line ends, so that a cut last row can be told.

    Raises :class:`SourceError` for an unknown format, or an empty, cut or damaged file (and how far it got).
    """
    left: list[bytes] = []
    whole = 0
    blocks = _blocks(path)
    while True:
        try:
            block = next(blocks, None)
        except SourceError as error:
            raise SourceError(f"{error} (row {whole:,} or after)" if whole else str(error)) from error
        if block is None:
            break
        lines = block.split(b"\n")
        if len(lines) == 1:
            left.append(block)
            continue
        yield b"".join([*left, lines[0], b"\n"])
        for line in lines[1:-1]:
            yield line + b"\n"
        left = [lines[-1]] if lines[-1] else []
        whole += len(lines) - 1
    if left:
        yield b"".join(left)


def _blocks(path: str) -> Iterator[bytes]:
    plain = path.removesuffix(".gz").removesuffix(".zst")
    if not plain.endswith(_JSON_SUFFIXES):
        raise SourceError(
            f"{path}: unknown format; known: .parquet, .jsonl, .json, .warc, .ipynb and .xml, "
            "also .gz, .zst and .bz2"
        )
    yield from open_blocks(path)


def open_blocks(path: str) -> Iterator[bytes]:
    """Yield the content of a file in blocks, decompressed by its suffix (``.gz``, ``.zst``, ``.bz2``).

    Raises :class:`SourceError` for an empty, cut or damaged file.
    """
    with open_file(path) as file:
        if path.endswith(".gz"):
            yield from _decompressed(file, path, _new_gzip)
        elif path.endswith(".zst"):
            yield from _decompressed(file, path, _new_zstd)
        elif path.endswith(".bz2"):
            yield from _decompressed(file, path, bz2.BZ2Decompressor)
        else:
            count = 0
            while block := file.read(_BLOCK_BYTES):
                count += len(block)
                yield block
            if not count:
                raise SourceError(f"{path}: the file is empty (0 bytes); fetch it again")


def _new_gzip() -> Any:
    return zlib.decompressobj(wbits=31)


def _new_zstd() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()


def _decompressed(file: IO[bytes], path: str, new: Any) -> Iterator[bytes]:
    """Decompress member after member; a member that does not end is damage, not the end of the data."""
    decompressor, begun = new(), False
    count = held = 0
    while block := file.read(_BLOCK_BYTES):
        count += len(block)
        while block:
            begun = True
            try:
                out = decompressor.decompress(block)
            except Exception as error:  # both libraries raise errors of their own
                raise SourceError(f"{path}: damaged near byte {count:,} ({error}); fetch it again") from error
            if out:
                held += len(out)
                yield out
            block = decompressor.unused_data if decompressor.eof else b""
            if decompressor.eof:
                decompressor, begun = new(), False
                # Files may be padded with zeros after the last member.
                block = block.lstrip(b"\0")
    if begun or not count:
        raise SourceError(f"{path}: cut short: the compressed data ends inside a frame; fetch it again")
    if not held:
        raise SourceError(f"{path}: the file is empty (0 bytes when decompressed); fetch it again")


def open_file(path: str) -> AbstractContextManager[IO[bytes]]:
    """Open a local path, or any fsspec address (``hf://``, ``s3://``, ``memory://``)."""
    if "://" not in path:
        try:
            return Path(path).open("rb")
        except FileNotFoundError as error:
            raise SourceError(f"{path}: no such file") from error
        except IsADirectoryError as error:
            raise SourceError(f"{path} is a folder; name its files") from error
    import fsspec

    opened: AbstractContextManager[IO[bytes]] = fsspec.open(path, "rb")
    return opened
