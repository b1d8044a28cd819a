"""Software Heritage's store on an S3 server of this machine: retries, missing blobs, hashes, encodings."""

import gzip
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.data.helpers import real_texts

from smoldata.build import build_jobs, built_documents, built_of, make_job
from smoldata.errors import SourceError
from smoldata.files import xxh3_128
from smoldata.heritage import with_contents
from smoldata.pipeline_types import Limit, RawInput
from smoldata.recipe import load_pipeline
from smoldata.registry import Registry
from smoldata.writing import write_rows

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


class Faulty:
    """Stands before the store and refuses the first requests for each object, as a busy store does."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.seen, self.times, self.lock = inner, dict[str, int](), 0, threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        """Answer 503 as often as asked, then what the store answers."""
        path = str(environ["PATH_INFO"])
        with self.lock:
            count = self.seen[path] = self.seen.get(path, 0) + 1
        if "/content/" in path and environ["REQUEST_METHOD"] != "PUT" and count <= self.times:
            body = b"<Error><Code>SlowDown</Code><Message>busy</Message></Error>"
            start("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [body]
        return self.inner(environ, start)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Faulty]]:
    """Start moto's S3; yield a client and the way to make it fail."""
    pytest.importorskip("s3fs", reason="needs the curate group: make setup-curate")
    pytest.importorskip("moto.server", reason="needs the cluster group: make test-system")
    import boto3
    import fsspec
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    faulty = Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, faulty, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, value in (
        ("AWS_ENDPOINT_URL", address),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.filesystem("s3").clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="softwareheritage", ACL="public-read")
    try:
        yield client, faulty
    finally:
        fsspec.filesystem("s3").clear_instance_cache()
        server.shutdown()
        thread.join(30)
        server.server_close()


def put(client: Any, data: bytes, name: str | None = None) -> str:
    """Keep contents as the bucket does; return the blob's identifier."""
    blob = name or hashlib.sha1(data, usedforsecurity=False).hexdigest()
    client.put_object(
        Bucket="softwareheritage", Key=f"content/{blob}", Body=gzip.compress(data), ACL="public-read"
    )
    return blob


@pytest.mark.filterwarnings("default")
def test_identifiers_become_documents(store: tuple[Any, Faulty], shipped: Registry, tmp_path: Path) -> None:
    client, faulty = store
    texts = real_texts(40)
    rows: list[dict[str, Any]] = [
        {"blob_id": put(client, text.encode()), "src_encoding": "UTF-8", "path": f"{number}.py"}
        for number, text in enumerate(texts)
    ]
    latin = ("# déjà vu\n" + "été = 1\n" * 20).encode("latin-1")
    rows.append({"blob_id": put(client, latin), "src_encoding": "ISO-8859-1", "path": "latin.py"})
    rows.append({"blob_id": "0" * 40, "src_encoding": "UTF-8", "path": "gone.py"})
    rows.append(
        {"blob_id": put(client, b"x = 1\n" * 20, "f" * 40), "src_encoding": "UTF-8", "path": "other.py"}
    )
    rows = [row | {"license_type": "permissive", "score": 4.0, "language": "Python"} for row in rows]
    write_rows(tmp_path / "a.parquet", rows, "parquet", floats=("score",))
    faulty.times = 2
    source = shipped.source("stack-edu-Python")
    raw = RawInput(str(tmp_path / "a.parquet"), "a.parquet", 1, xxh3_128(tmp_path / "a.parquet"), None)
    recipe = load_pipeline("stack_edu", language="Python")
    job = make_job(source, recipe, (raw,), tmp_path / "out", tmp_path / ".work", 1, Limit())
    build_jobs([job], 1)
    built = built_of(job)
    kept = {row["text"] for row in built_documents(tmp_path / "out")}
    assert built.read == len(rows)
    assert built.dropped.pop("missing_blob") == 1
    assert built.dropped.pop("wrong_hash") == 1
    assert kept <= {*texts, latin.decode("latin-1")}
    assert latin.decode("latin-1") in kept
    assert built.kept + sum(built.dropped.values()) == len(rows) - 2
    assert max(faulty.seen.values()) > 2, "the store never refused"


@pytest.mark.filterwarnings("default")
def test_a_store_that_stays_down_is_an_error(
    store: tuple[Any, Faulty], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, faulty = store
    blob = put(client, b"x" * 100)
    faulty.times = 10**6
    monkeypatch.setattr("smoldata.heritage.time.sleep", lambda _seconds: None)
    with pytest.raises(SourceError, match="contents cannot be read at s3://softwareheritage/content/"):
        list(with_contents([(0, {"blob_id": blob})], "blob_id", "s3://softwareheritage/content/{blob_id}"))
