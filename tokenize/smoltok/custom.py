"""A user's own vocabulary: a ``tokenizer.json`` or tiktoken ranks → a :class:`~smoltok.tokenizer.Tokenizer`.

The end-of-document id comes from the user, or from what stands beside the file (``tokenizer_config.json``,
``generation_config.json``, ``config.json``), or from a control token with a well-known name; else it is an
error, never a guess. Control tokens are taken out of what the engines load, so no text can spell one,
whatever the library; added tokens that are ordinary text stay. Cost: reads and hashes the file once.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoldata.errors import TokenizerError
from smoltok.tokenizer import LLAMA_PATTERN, Tokenizer
from smoltok.vocabulary import canonical, read_ranks, read_vocabulary_file

if TYPE_CHECKING:
    from smoltok.engines import Engine

_EOS_NAMES = ("<|end_of_text|>", "<|endoftext|>", "</s>", "<eos>", "<|eos|>", "[EOS]")
_BOS_NAMES = ("<|begin_of_text|>", "<s>", "<bos>", "<|bos|>", "[BOS]")
_CONFIGS = ("tokenizer_config.json", "generation_config.json", "config.json")


def describe(path: Path, *, eos: int | str | None = None, pattern: str | None = None) -> Tokenizer:
    """Return the tokenizer of a file, or of a folder with a ``tokenizer.json``. Raises TokenizerError."""
    if path.is_dir():
        path /= "tokenizer.json"
    if not path.is_file():
        raise TokenizerError(
            f"no tokenizer {str(path)!r}: it is neither a shipped one (llama-3.2) nor a file; "
            "give the path of a tokenizer.json or of tiktoken ranks"
        )
    data = read_vocabulary_file(path)
    name = path.parent.name if path.name == "tokenizer.json" and path.parent.name else path.stem
    if data.lstrip()[:1] == b"{":
        return _describe_json(path.resolve(), name, data, eos)
    return _describe_ranks(path.resolve(), name, eos, pattern or LLAMA_PATTERN)


def plain_json(tokenizer: Tokenizer) -> str:
    """Return a ``tokenizer.json`` without control tokens or what adds them. Raises TokenizerError."""
    path = tokenizer.path
    data = read_vocabulary_file(path) if path else b""
    seen = hashlib.sha256(data).hexdigest()
    if seen != tokenizer.sha256:
        raise TokenizerError(
            f"{path} changed: its sha256 is {seen}, wanted {tokenizer.sha256}; restore it, or name it anew"
        )
    model = _parse(path, data)
    model["added_tokens"] = [token for token in model.get("added_tokens") or [] if not token.get("special")]
    return json.dumps(
        model | {"post_processor": None, "truncation": None, "padding": None}, ensure_ascii=False
    )


def refuse_forgery(engine: "Engine", tokenizer: Tokenizer) -> None:
    """Raise TokenizerError if a text that spells a control token of a ``tokenizer.json`` becomes one.

    Without the added tokens that happens only where the model's own vocabulary holds the spelling.
    """
    path = tokenizer.path
    added = _parse(path, read_vocabulary_file(path) if path else b"").get("added_tokens") or []
    control: dict[str, int] = {token["content"]: token["id"] for token in added if token.get("special")}
    texts = [text for content in control for text in (content, f"a {content} b")]
    ids, _ = engine.encode_flat(texts)
    forged = set(ids.tolist()) & {*control.values(), tokenizer.eos_id}
    if texts and forged:
        names = ", ".join(content for content, number in control.items() if number in forged)
        raise TokenizerError(
            f"{path}: text that spells {names} becomes that control token; its vocabulary cannot be used for "
            "untrusted text: take the spelling out of the model's own vocabulary"
        )


def _describe_json(path: Path, name: str, data: bytes, eos: int | str | None) -> Tokenizer:
    model = _parse(path, data)
    added: dict[str, int] = {token["content"]: token["id"] for token in model.get("added_tokens") or []}
    entries = model.get("model", {}).get("vocab") or {}
    known: dict[str, int] = (
        entries if isinstance(entries, dict) else {row[0]: i for i, row in enumerate(entries)}
    ) | added
    if not known:
        raise TokenizerError(f"{path} holds no vocabulary; give a tokenizer.json or tiktoken ranks")
    bos = next((known[text] for text in _BOS_NAMES if text in known), None)
    return Tokenizer(
        name=name,
        kind="json",
        sha256=hashlib.sha256(data).hexdigest(),
        eos_id=_eos(path, eos, known),
        vocab_size=max(known.values()) + 1,
        path=path,
        bos_id=bos,
    )


def _describe_ranks(path: Path, name: str, eos: int | str | None, pattern: str) -> Tokenizer:
    ranks = read_ranks(path)
    if not isinstance(eos, int):
        raise TokenizerError(
            f"{path} holds ranks alone: give the end-of-document id as a number (--eos 50256)"
        )
    return Tokenizer(
        name=name,
        kind="ranks",
        sha256=hashlib.sha256(canonical(ranks)).hexdigest(),
        eos_id=eos,
        vocab_size=max([*ranks.values(), eos]) + 1,
        path=path,
        pattern=pattern,
    )


def _eos(path: Path, given: int | str | None, known: dict[str, int]) -> int:
    if isinstance(given, int):
        return given
    if given is not None:
        if given not in known:
            raise TokenizerError(f"{path} has no token {given!r}; give the end-of-document token or its id")
        return known[given]
    for config in _CONFIGS:
        found = _eos_of_config(path.with_name(config), known)
        if found is not None:
            return found
    for text in _EOS_NAMES:
        if text in known:
            return known[text]
    raise TokenizerError(f"{path} does not tell its end-of-document token; give it (--eos, a token or an id)")


def _eos_of_config(path: Path, known: dict[str, int]) -> int | None:
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    token, number = config.get("eos_token"), config.get("eos_token_id")
    text = token.get("content") if isinstance(token, dict) else token
    if isinstance(text, str) and text in known:
        return known[text]
    number = number[0] if isinstance(number, list) and number else number
    return number if isinstance(number, int) else None


def _parse(path: Path | None, data: bytes) -> dict[str, Any]:
    try:
        model = json.loads(data)
        if not isinstance(model, dict) or not isinstance(model.get("model"), dict):
            raise TypeError("no 'model'")  # noqa: TRY301 - one message for every way of being wrong
    except (ValueError, TypeError) as error:
        raise TokenizerError(f"{path} is no tokenizer.json ({error}); export it again") from error
    return model
