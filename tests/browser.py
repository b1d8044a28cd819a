"""Pages in headless Chromium: that they render, say nothing on the console and load nothing."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs chromium: make test-system installs it")


def browse(page: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Open a page from disk, with a profile beside it; the console is on standard error."""
    assert CHROMIUM
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
    logged = ["--enable-logging=stderr", "--v=0", f"--user-data-dir={page.parent / 'profile'}"]
    return subprocess.run(
        [CHROMIUM, *flags, *logged, *arguments, page.as_uri()],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def check_renders(page: Path, colours: str, height: int) -> None:
    """Take a picture of the page beside it, light or dark; the console must stay silent."""
    picture = page.parent / f"{colours}.png"
    dark = ["--blink-settings=preferredColorScheme=0"] if colours == "dark" else []
    done = browse(page, *dark, f"--screenshot={picture}", f"--window-size=1100,{height}")
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr
    assert picture.stat().st_size > 20_000


def check_loads_nothing(page: Path, words: str) -> None:
    """Prove that :func:`check_renders` can fail: with a picture from elsewhere the console speaks."""
    slipped = page.with_name("slipped.html")
    picture = '<img src="http://127.0.0.1:9/x.png" alt="">'
    slipped.write_text(page.read_text("utf-8").replace("</main>", f"{picture}</main>"), "utf-8")
    done = browse(slipped, "--dump-dom")
    assert words in done.stdout
    assert "CONSOLE" in done.stderr
    assert "Content Security Policy" in done.stderr
