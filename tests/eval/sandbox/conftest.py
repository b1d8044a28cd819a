"""All tests of this folder run programs in the sandbox."""

import pytest


@pytest.fixture(autouse=True)
def _sandboxed(sandbox: None) -> None:
    """Ask for the sandbox before each test."""
