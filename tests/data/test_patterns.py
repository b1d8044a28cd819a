"""File patterns behave as they do in a shell with ``**``."""

import pytest

from smoldata.patterns import matcher


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("*.py", "a.py", True),
        ("*.py", "b/a.py", False),
        ("**/*.py", "a.py", True),
        ("**/*.py", "b/c/a.py", True),
        ("docs/**/*.txt", "docs/a.txt", True),
        ("docs/**/*.txt", "docs/b/a.txt", True),
        ("docs/**/*.txt", "xdocs/a.txt", False),
        ("a.b", "axb", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("global-shard_*_of_10/**/*.jsonl.zst", "global-shard_01_of_10/local-shard_0/s.jsonl.zst", True),
    ],
)
def test_pattern(pattern: str, path: str, *, fits: bool) -> None:
    assert matcher([pattern])(path) is fits


def test_exclusion_wins() -> None:
    fits = matcher(["**/*.rst"], ["docs/faq.rst"])
    assert fits("docs/a.rst")
    assert not fits("docs/faq.rst")


def test_no_pattern_fits_nothing() -> None:
    assert not matcher([])("a")
