"""Identifiers of Software Heritage -> file contents, blob by blob.

the-stack-v2 and stack-edu list ``blob_id`` and ``src_encoding``; the contents lie gzipped in Software
Heritage's public bucket, one object a blob. A bulk download needs an agreement with Software Heritage and
INRIA.
"""

import gzip
import os
import zlib

from smoldata.errors import SourceError
from smoldata.reading import Report

CONTENTS_VARIABLE = "SMOLDATA_CONTENTS_URL"
DEFAULT_CONTENTS = "s3://softwareheritage/content/{blob_id}"


def contents_url() -> str:
    """Return the address pattern of contents: the environment's, else the public bucket's."""
    url = os.environ.get(CONTENTS_VARIABLE, DEFAULT_CONTENTS)
    if "{blob_id}" not in url:
        raise SourceError(f"{CONTENTS_VARIABLE} is {url!r}; it must contain {{blob_id}}")
    return url


def fetch_content(blob_id: object, encoding: object, url: str, report: Report) -> str | None:
    """Return a blob's text; a blob that is missing, damaged or not in its encoding is a counted drop."""
    if not isinstance(blob_id, str) or not blob_id.isalnum():
        report.drop("bad_blob_id")
        return None
    try:
        data = gzip.decompress(_read(url.replace("{blob_id}", blob_id)))
        return data.decode(encoding if isinstance(encoding, str) and encoding else "utf-8")
    except FileNotFoundError:
        report.drop("missing_blob")
    except (gzip.BadGzipFile, EOFError, zlib.error):
        report.drop("damaged_blob")
    except (UnicodeDecodeError, LookupError):
        report.drop("bad_encoding")
    return None


def _read(address: str) -> bytes:
    import fsspec

    options = {"anon": True} if address.startswith("s3://") else {}
    try:
        with fsspec.open(address, "rb", **options) as file:
            data: bytes = file.read()
            return data
    except ImportError as error:
        raise SourceError(
            f"contents at {address.partition('{')[0]} need another package ({error}); "
            "install s3fs for s3:// addresses"
        ) from error
