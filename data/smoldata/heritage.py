"""Identifiers of Software Heritage -> file contents, blob by blob.

the-stack-v2 and stack-edu list ``blob_id`` and ``src_encoding``; the contents lie gzipped in Software
Heritage's public bucket, one object a blob. A bulk download needs an agreement with Software Heritage and
INRIA.
"""

import gzip
import itertools
import os
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from smoldata.errors import SourceError

CONTENTS_VARIABLE = "SMOLDATA_CONTENTS_URL"
DEFAULT_CONTENTS = "s3://softwareheritage/content/{blob_id}"
_FETCHES_AT_A_TIME = 32
_ROWS_AT_A_TIME = 256


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
    ``bad_encoding``. Raises :class:`SourceError` when the store cannot be read at all.
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
        data = gzip.decompress(_read(url.replace("{blob_id}", blob_id)))
        return data.decode(encoding if isinstance(encoding, str) and encoding else "utf-8"), ""
    except FileNotFoundError:
        return None, "missing_blob"
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return None, "damaged_blob"
    except (UnicodeError, LookupError):
        return None, "bad_encoding"


def _read(address: str) -> bytes:
    import fsspec

    options = {"anon": True} if address.startswith("s3://") else {}
    try:
        with fsspec.open(address, "rb", **options) as file:
            data: bytes = file.read()
            return data
    except FileNotFoundError:
        raise
    except ImportError as error:
        raise SourceError(
            f"contents at {address} need another package ({error}); install s3fs for s3:// addresses"
        ) from error
    except Exception as error:  # each file system has errors of its own
        raise SourceError(
            f"contents cannot be read at {address} ({type(error).__name__}: {error}); "
            f"{CONTENTS_VARIABLE} names another place"
        ) from error
