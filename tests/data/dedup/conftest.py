"""Fixtures that dedup shares with the heuristics."""

from tests.data.heuristics.conftest import web_pages

__all__ = ["web_pages"]
