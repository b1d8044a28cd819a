"""Rows -> exact numbers of tokens, and of tokens with a loss, as the model reads them.

A row is rendered by its template and tokenized whole, control tokens included; a token is trained on when its
first character lies in a generation mark (chat), or always (chatml). This is an account of its own, by
character offsets, which the trainer's masks are tested against. Cost: about 1 MB/s.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smoltrain.post.recipe import RowsRecipe, TemplateName
from smoltrain.post.schemas import Conversation, Pair, as_messages, conversations_of
from smoltrain.post.template import chat_template, chatml_template, render_marked


def template_named(name: TemplateName) -> str:
    """Return the text of a recipe's template."""
    return chatml_template() if name == "chatml" else chat_template()


class Counter:
    """Counts tokens of the rows of a recipe."""

    def __init__(self, tokenizer: Path, recipe: RowsRecipe) -> None:
        """Load ``tokenizer/tokenizer.json``."""
        from tokenizers import Tokenizer

        self._tokenizer: Any = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
        self._name = recipe.template

    def count(self, rows: Sequence[Conversation | Pair]) -> list[list[tuple[int, int]]]:
        """Return (tokens, trained tokens) of each row's conversations: one, or chosen and rejected."""
        sides = [list(conversations_of(row)) for row in rows]
        counts = [
            (len(mask), int(mask.sum())) for _, mask in self.masks([one for row in sides for one in row])
        ]
        found, begin = [], 0
        for row in sides:
            found.append(counts[begin : begin + len(row)])
            begin += len(row)
        return found

    def masks(self, rows: Sequence[Conversation]) -> list[tuple[list[int], npt.NDArray[np.bool_]]]:
        """Return ids and a mask of those that are trained on, of each row."""
        template = template_named(self._name)
        rendered = [
            render_marked(as_messages(row.messages), template=template, **row.arguments) for row in rows
        ]
        encodings = self._tokenizer.encode_batch([text for text, _ in rendered], add_special_tokens=False)
        return [
            (list(one.ids), self._trained([begin for begin, _ in one.offsets], spans))
            for one, (_, spans) in zip(encodings, rendered, strict=True)
        ]

    def _trained(self, begins: list[int], spans: list[tuple[int, int]]) -> npt.NDArray[np.bool_]:
        if self._name == "chatml":
            return np.ones(len(begins), np.bool_)
        edges = np.array([edge for span in spans for edge in span], np.int64)
        inside: npt.NDArray[np.bool_] = (
            np.searchsorted(edges, np.array(begins, np.int64), side="right") % 2 == 1
        )
        return inside
