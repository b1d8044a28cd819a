"""A page of a MediaWiki export -> the article's title and plain text."""

from collections.abc import Mapping
from typing import Any

from smoldata.kinds import Unrenderable
from smoldata.sample.wikipedia import plain


def article(row: Mapping[str, Any]) -> str:
    """Return title and text; raise :class:`Unrenderable` for redirects and pages that are no articles."""
    markup = row.get("text")
    if not isinstance(markup, str) or not markup.strip():
        raise Unrenderable("empty_text")
    if row.get("redirect") or markup.lstrip().lower().startswith("#redirect"):
        raise Unrenderable("redirect")
    if str(row.get("namespace") or "0") != "0":
        raise Unrenderable("not_an_article")
    text = plain(markup)
    if not text:
        raise Unrenderable("empty_text")
    title = str(row.get("title") or "").strip()
    return f"{title}\n\n{text}\n" if title else f"{text}\n"
