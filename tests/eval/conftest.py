"""Fixtures of the evaluation room."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def eval_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the pinned packages with evaluation items are fetched into."""
    return tmp_path_factory.mktemp("eval-packages")
