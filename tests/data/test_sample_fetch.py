"""Fetching is stopped cleanly: Ctrl-C and a killed parent leave no process, no file and no traceback."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.data.test_workers import wait_until

PARENT = """\
import sys
from pathlib import Path
from smoldata.console import run_command
from smoldata.sample.fetch import fetch
from smoldata.sample.lock import Pin
import typer
app = typer.Typer()
@app.command()
def go(folder: Path) -> None:
    fetch([Pin("trial", "1.0", "trial-1.0.tar.gz", "0" * 64, 1000)], folder)
if __name__ == "__main__":
    run_command(app)
"""


class SlowIndex(BaseHTTPRequestHandler):
    """An index that starts to send an archive and never ends."""

    asked = threading.Event()
    stop = threading.Event()

    def do_GET(self) -> None:
        """Answer the page of a package, or begin with its archive."""
        self.send_response(200)
        if self.path.endswith(".tar.gz"):
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
            self.asked.set()
            self.stop.wait(60)
            return
        page = b'<!DOCTYPE html><a href="/files/trial-1.0.tar.gz">trial-1.0.tar.gz</a>'
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def index() -> Iterator[str]:
    SlowIndex.asked, SlowIndex.stop = threading.Event(), threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlowIndex)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    SlowIndex.stop.set()
    server.shutdown()
    server.server_close()
    thread.join()


def _fetchers(folder: Path) -> list[int]:
    """Return the processes that fetch into the folder's parent: they carry its name in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if b"smoldata.sample.pip_fetch" in command and f"SMOL_TRIAL={folder}".encode() in environment:
            found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_fetch_leaves_nothing(tmp_path: Path, index: str, how: signal.Signals) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    folder = tmp_path / "packages"
    settings = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": index,
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "NO_PROXY": "127.0.0.1",
        "SMOL_TRIAL": str(folder),
    }
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        env=os.environ | settings,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert SlowIndex.asked.wait(60)
        assert _fetchers(folder)
    finally:
        if how == signal.SIGINT:  # as a terminal does: to the whole group
            os.killpg(process.pid, how)
        else:
            process.kill()
    _, errors = process.communicate(timeout=120)
    wait_until(lambda: not _fetchers(folder), 15)
    assert "Traceback" not in errors
    assert not (folder / "trial-1.0.tar.gz").exists()
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "run the same command again" in errors
        assert list(folder.iterdir()) == []
