"""Identifiers of Software Heritage -> file contents, blob by blob, each checked against its identifier.

the-stack-v2 and stack-edu list ``blob_id`` and ``src_encoding``; the contents lie gzipped in Software
Heritage's public bucket, one object a blob, named by its sha1. 32 are fetched at a time. A transient fault is
tried again, up to three times with growing pauses (an S3 client tries again by itself, too). A bulk download
needs an agreement with Software Heritage and INRIA.
"""

import gzip
import hashlib
import itertools
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from smoldata.errors import SourceError

CONTENTS_VARIABLE = "SMOLDATA_CONTENTS_URL"
DEFAULT_CONTENTS = "s3://softwareheritage/content/{blob_id}"
_FETCHES_AT_A_TIME = 32
_ROWS_AT_A_TIME = 256
_TRIES = 3
_FIRST_PAUSE_SECONDS = 0.2


def contents_url() -> str:
    """Return the address pattern of contents: the environment's, else the public bucket's."""
    url = os.environ.get(CONTENTS_VARIABLE, DEFAULT_CONTENTS)
    if "{blob_id}" not in url:
        raise SourceError(f"{CONTENTS_VARIABLE} is {url!r}; it must contain {{blob_id}}")
    return url


def with_contents(
    rows: Iterable[tuple[int, dict[str, Any]]], id_column: str, url: str
) -> Iterator[tuple[int, dict[str, Any], str | None, str]]:
    """Yield (row number, row, text, fault) in the order of ``rows``; blobs are fetched 32 at a time.

    Either the text is there or the fault says why not: ``bad_blob_id``, ``missing_blob``, ``damaged_blob``,
    ``wrong_hash``, ``bad_encoding``. Raises :class:`SourceError` when the store cannot be read at all.
    """
    with ThreadPoolExecutor(_FETCHES_AT_A_TIME) as pool:
        pending = iter(rows)
        while batch := list(itertools.islice(pending, _ROWS_AT_A_TIME)):
            fetched = pool.map(lambda entry: fetch_content(entry[1], id_column, url), batch)
            for (number, row), (text, fault) in zip(batch, fetched, strict=True):
                yield number, row, text, fault


def fetch_content(row: dict[str, Any], id_column: str, url: str) -> tuple[str | None, str]:
    """Return a row's text, or nothing and the reason."""
    blob_id, encoding = row.get(id_column), row.get("src_encoding")
    if not isinstance(blob_id, str) or not blob_id.isalnum():
        return None, "bad_blob_id"
    try:
        data = gzip.decompress(retried(lambda: _read(url.replace("{blob_id}", blob_id))))
        if blob_id not in hashes(data):
            return None, "wrong_hash"
        return data.decode(encoding if isinstance(encoding, str) and encoding else "utf-8"), ""
    except FileNotFoundError:
        return None, "missing_blob"
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return None, "damaged_blob"
    except (UnicodeError, LookupError):
        return None, "bad_encoding"


def hashes(data: bytes) -> tuple[str, str]:
    """Return what a blob may be named by: the sha1 of its bytes, and the one that Git gives it."""
    header = f"blob {len(data)}\0".encode()
    return (
        hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        hashlib.sha1(header + data, usedforsecurity=False).hexdigest(),
    )


def retried(read: Callable[[], bytes], pause: Callable[[float], None] = time.sleep) -> bytes:
    """Return what ``read`` gives; a :class:`SourceError` is tried again, up to three times in all."""
    for attempt in range(_TRIES - 1):
        try:
            return read()
        except SourceError as error:
            if isinstance(error.__cause__, ImportError):
                raise
            pause(_FIRST_PAUSE_SECONDS * 2**attempt)
    return read()


def _read(address: str) -> bytes:
    import fsspec

    # The bucket is public; credentials are used for another address, where the environment has any.
    options = {"anon": True} if address.startswith("s3://softwareheritage/") else {}
    try:
        with fsspec.open(address, "rb", **options) as file:
            data: bytes = file.read()
            return data
    except FileNotFoundError:
        raise
    except ImportError as error:
        raise SourceError(
            f"contents at {address} need another package ({error}); run `make setup-curate` (s3fs) for s3:// "
            "addresses"
        ) from error
    except Exception as error:  # each file system has errors of its own
        raise SourceError(
            f"contents cannot be read at {address} ({type(error).__name__}: {error}); "
            f"{CONTENTS_VARIABLE} names another place"
        ) from error
