"""A server on this machine that a test starts: a port for it, and a wait until it answers."""

import socket
import subprocess
import time
import urllib.error
import urllib.request


def unused_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(server: subprocess.Popen[bytes], url: str) -> None:
    """Ask until the server is there; the test's own limit is what ends a wait in vain."""
    while server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=60):  # noqa: S310 - our own server
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError(f"the server ended with {server.returncode}")
