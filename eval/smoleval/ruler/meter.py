"""Token counts of texts, by the tokenizer that the lengths are meant in.

No BOS, no EOS: as RULER counts. Pieces are counted in one call and remembered. Cost: about 10 MB of text a
second for long texts.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from smoltok.encoding import encode_flat
from smoltok.tokenizer import Tokenizer

Ints = npt.NDArray[np.int64]


class Meter:
    """Counts tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._known: dict[str, int] = {}

    def count(self, text: str) -> int:
        """Return the tokens of a text."""
        return len(encode_flat([text], tokenizer=self.tokenizer)[0])

    def each(self, pieces: Sequence[str]) -> Ints:
        """Return the tokens of each piece by itself."""
        if not pieces:
            return np.zeros(0, np.int64)
        offsets = encode_flat(list(pieces), tokenizer=self.tokenizer)[1]
        ends = np.asarray(offsets, np.int64)
        return ends[1:] - ends[:-1]

    def piece(self, text: str) -> int:
        """Return the tokens of a short text, remembered."""
        if text not in self._known:
            self._known[text] = self.count(text)
        return self._known[text]
