"""Ids → the bytes they stand for, without any engine: a table of the vocabulary and one gather in NumPy.

The proof that nothing is lost does not trust the encoders' own decoders. Control tokens stand for no bytes.
Cost: about 100 MB/s.
"""

import json

import numpy as np
from numpy.typing import NDArray

from smoldata.errors import TokenizerError
from smoltok.tokenizer import Tokenizer
from smoltok.vocabulary import Ranks, load_ranks, model_json, read_ranks


class Decoder:
    """The vocabulary as one byte string and where each token stands in it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Load the vocabulary. Raises TokenizerError if its tokens are not bytes."""
        self._length = np.zeros(tokenizer.vocab_size, np.int64)
        self._begin = np.zeros(tokenizer.vocab_size, np.int64)
        parts, position = [], 0
        for token, number in _ranks(tokenizer).items():
            self._begin[number], self._length[number] = position, len(token)
            parts.append(token)
            position += len(token)
        self._bytes = np.frombuffer(b"".join(parts), np.uint8)

    def decode(self, ids: NDArray[np.unsignedinteger]) -> bytes:
        """Return the bytes of ``ids``, concatenated."""
        length = self._length[ids]
        ends = np.cumsum(length)
        total = int(ends[-1]) if len(ends) else 0
        # Position in the table of each output byte: its token's begin, plus how far it is inside the token.
        places = np.arange(total) + np.repeat(self._begin[ids] - (ends - length), length)
        data: bytes = self._bytes[places].tobytes()
        return data


def _ranks(tokenizer: Tokenizer) -> Ranks:
    if tokenizer.kind == "ranks":
        return load_ranks(tokenizer)
    model = json.loads(model_json(tokenizer, reachable_only=True))
    if '"ByteLevel"' not in json.dumps(model.get("decoder")):
        raise TokenizerError(
            f"the tokens of {tokenizer.name} are not bytes: its round trip cannot be proved here"
        )
    assert tokenizer.path is not None
    return read_ranks(tokenizer.path)
