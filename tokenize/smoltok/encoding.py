"""Texts → ids. The rule for lone surrogates and the end of a document live here.

A Python string may hold lone surrogates, which no UTF-8 text can. The engines disagree on them (an error,
or a silent repair), so the rule is ours: two halves that form a pair are joined, a lone one becomes U+FFFD,
and the repaired texts are counted. Documents files hold UTF-8, where this cannot arise.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from smoltok.engines import Flat, load
from smoltok.tokenizer import LLAMA_3_2, LLAMA_PATTERN, Tokenizer

_LONG_TOKENS = 256
"""Mean tokens a text from which a copy a text is quicker than a mask."""


def encode(texts: Sequence[str], *, tokenizer: Tokenizer = LLAMA_3_2) -> list[list[int]]:
    """Return the ids of each text: no BOS, no EOS, look-alikes of control tokens as text.

    Lone surrogates become U+FFFD; :func:`repair_surrogates` counts them. Raises TokenizerError.

    >>> encode(["Hello world", ""])
    [[9906, 1917], []]
    """
    ids, offsets = encode_flat(repair_surrogates(texts)[0], tokenizer=tokenizer)
    return [ids[offsets[i] : offsets[i + 1]].tolist() for i in range(len(texts))]


def encode_flat(texts: Sequence[str], *, tokenizer: Tokenizer = LLAMA_3_2) -> Flat:
    """Return all ids in one array and len(texts) + 1 offsets; texts must hold no lone surrogate."""
    if isinstance(texts, str):
        raise TypeError("texts is one str; give a sequence of texts, such as [text]")
    return load(tokenizer).encode_flat(texts if isinstance(texts, list) else list(texts))


def has_seams(tokenizer: Tokenizer) -> bool:
    """Return whether a text may be cut where a space or line feed follows an ASCII letter, with the same ids.

    True of Llama-3's split pattern. Of what it can match, only a run of letters and a contraction have a
    letter; nothing but letters follows it there, and no alternative looks behind. So a token ends at the cut,
    and the next begins as at the beginning of a text. Of other patterns nothing is known.
    """
    return tokenizer.kind == "ranks" and tokenizer.pattern == LLAMA_PATTERN


def repair_surrogates(texts: Sequence[str]) -> tuple[list[str], int]:
    r"""Return the texts as any UTF-8 encoder would take them, and how many had to be repaired.

    >>> repair_surrogates(["ok", "\ud83d\udc4d", "a\ud800"])
    (['ok', '👍', 'a�'], 2)
    """
    repaired, count = list(texts), 0
    for i, text in enumerate(texts):
        if not text.isascii() and _has_surrogate(text):
            repaired[i] = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            count += 1
    return repaired, count


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def end_documents(flat: Flat, tokenizer: Tokenizer) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
    """Return ids in the type of the disk with the EOS after each text, and where each document ends."""
    ids, offsets = flat
    ends = offsets[1:] + np.arange(1, len(offsets), dtype=np.int64)
    ended = np.empty(len(ids) + len(ends), dtype=tokenizer.dtype)
    if len(ids) > _LONG_TOKENS * len(ends):
        # Copying each text whole is quicker than choosing each token by a mask.
        bounds = offsets.tolist()
        for number, (begin, end) in enumerate(pairwise(bounds)):
            ended[begin + number : end + number] = ids[begin:end]
        ended[ends - 1] = tokenizer.eos_id
        return ended, ends
    is_text = np.ones(len(ended), dtype=bool)
    is_text[ends - 1] = False
    ended[is_text] = ids
    ended[ends - 1] = tokenizer.eos_id
    return ended, ends
