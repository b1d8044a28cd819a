"""What the tests of this room share."""

import pytest

from smoldata.registry import Registry, load_registry


@pytest.fixture(scope="session")
def shipped() -> Registry:
    """Return the shipped registry."""
    return load_registry()
