"""Tokenization: documents in, nanotron-ready token shards out, ids exact to the last token.

>>> import smoltok
>>> smoltok.encode(["Hello world"])
[[9906, 1917]]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoltok.encoding import encode as encode
    from smoltok.shards import open_shard as open_shard
    from smoltok.shards import read_shard as read_shard
    from smoltok.tokenizer import LLAMA_3_2 as LLAMA_3_2
    from smoltok.tokenizer import Tokenizer as Tokenizer
    from smoltok.tokenizer import resolve as resolve

_HOME = {
    "LLAMA_3_2": "smoltok.tokenizer",
    "Tokenizer": "smoltok.tokenizer",
    "encode": "smoltok.encoding",
    "open_shard": "smoltok.shards",
    "read_shard": "smoltok.shards",
    "resolve": "smoltok.tokenizer",
}
__all__ = [
    "LLAMA_3_2",
    "Tokenizer",
    "encode",
    "open_shard",
    "read_shard",
    "resolve",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'smoltok' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
