"""A checkpoint and RULER prompts -> predictions: greedy generation with transformers, one prompt at a time.

A prediction is appended to ``<task>.partial.jsonl`` and flushed before the next begins; a finished task is
renamed to ``<task>.jsonl``. A run that was cut off goes on after its last whole line. Cost: one forward pass
over each prompt, and the reserved answer tokens one by one.
"""

import importlib.metadata
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from smoldata.console import say
from smoldata.errors import InputError
from smoldata.files import digest_values, fsync, single_writer, write_atomic
from smoleval.asking import chat_prompt
from smoleval.ruler.score import read_manifest, read_prompts, score_predictions, statements
from smoleval.scores import Score, checkpoint_sha256
from smoltok.encoding import encode
from smoltok.tokenizer import resolve

_CONTENT = "prompt"
Encode = Callable[[dict[str, Any]], list[int]]
Decode = Callable[[list[int]], str]


@dataclass(frozen=True, slots=True)
class Running:
    """How predictions are made."""

    chat: bool = False
    """Through the checkpoint's chat template (thinking off); the answer prefix begins the answer."""
    device: str = "cpu"
    precision: str = "float32"
    tokenizer: str = ""
    """File of the prompts' tokenizer, if it is not a shipped one."""


def run(
    checkpoint: Path,
    data: Path,
    running: Running,
    advance: Callable[[int, str], None] = lambda _count, _what: None,
) -> tuple[list[Score], Path]:
    """Return the scores of a checkpoint on the prompts of ``data``, and the folder of its predictions."""
    manifest = read_manifest(data)
    weights = checkpoint_sha256(checkpoint)
    settings = {"chat": running.chat, "precision": running.precision, "decoding": "greedy"}
    engine = f"transformers {importlib.metadata.version('transformers')}"
    folder = data / "predictions" / f"{weights[:8]}-{digest_values(settings, engine, weights)[:8]}"
    with single_writer(folder):
        left = [one for _, one in statements(manifest) if not _finished(folder, one)]
        if left:
            model, encoder, decode = _load(checkpoint, manifest, running)
            for statement in left:
                _predict(model, encoder, decode, read_prompts(data, statement), folder, statement)
                advance(1, statement["task"])
    mode = "no_think" if running.chat else ""
    return score_predictions(data, folder, checkpoint, engine, settings, mode), folder


def _finished(folder: Path, statement: dict[str, Any]) -> bool:
    """Return whether a task's predictions stand, and are of the prompts that there are now."""
    beside = folder / f"{statement['task']}.of"
    if beside.is_file() and beside.read_text(encoding="utf-8") != statement["sha256"]:
        for suffix in ("jsonl", "partial.jsonl", "of"):  # of other prompts
            (folder / f"{statement['task']}.{suffix}").unlink(missing_ok=True)
    return (folder / f"{statement['task']}.jsonl").is_file()


def _load(checkpoint: Path, manifest: dict[str, Any], running: Running) -> tuple[Any, Encode, Decode]:
    from smoleval.loading import load_model

    model = load_model(checkpoint, running.precision, running.device)
    longest = getattr(model.config, "max_position_embeddings", manifest["length"])
    if longest < manifest["length"]:
        say(f"note: the prompts have {manifest['length']:,} tokens, the model was made for {longest:,}")
    encoder, decode = (_chat if running.chat else _plain)(checkpoint, manifest, running)
    return model, encoder, decode


def _plain(_checkpoint: Path, manifest: dict[str, Any], running: Running) -> tuple[Encode, Decode]:
    from smoltok.engines import Reference

    tokenizer = resolve(running.tokenizer or manifest["tokenizer"]["name"])
    if tokenizer.sha256 != manifest["tokenizer"]["sha256"]:
        raise InputError(
            f"the prompts were measured with tokenizer {manifest['tokenizer']['name']} "
            f"({manifest['tokenizer']['sha256'][:12]}), this is {tokenizer.sha256[:12]}; "
            "give its file with --tokenizer"
        )
    reference = Reference(tokenizer)

    def encoder(prompt: dict[str, Any]) -> list[int]:
        return encode([prompt["input"] + prompt["answer_prefix"]], tokenizer=tokenizer)[0]

    return encoder, reference.decode


def _chat(checkpoint: Path, _manifest: dict[str, Any], _running: Running) -> tuple[Encode, Decode]:
    tokenizer = _chat_tokenizer(checkpoint)

    def encoder(prompt: dict[str, Any]) -> list[int]:
        text = _render(tokenizer, prompt["input"]) + prompt["answer_prefix"].lstrip()
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    return encoder, lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True))


def _chat_tokenizer(checkpoint: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    if not tokenizer.chat_template:
        raise InputError(f"{checkpoint} has no chat template; leave out --chat for a base model")
    return tokenizer


def _render(tokenizer: Any, content: str) -> str:
    return chat_prompt(tokenizer, None, content, enable_thinking=False)


def template_tokens(checkpoint: Path) -> int:
    """Return how many tokens the chat template of a checkpoint puts around a user's message."""
    tokenizer = _chat_tokenizer(checkpoint)
    counts = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in
              (_render(tokenizer, _CONTENT), _CONTENT)]  # fmt: skip
    return counts[0] - counts[1]


def _predict(
    model: Any,
    encoder: Encode,
    decode: Decode,
    prompts: list[dict[str, Any]],
    folder: Path,
    stated: dict[str, Any],
) -> None:
    name = stated["task"]
    write_atomic(folder / f"{name}.of", stated["sha256"])
    partial, final = folder / f"{name}.partial.jsonl", folder / f"{name}.jsonl"
    done = _whole_lines(partial)
    with partial.open("a", encoding="utf-8") as file:
        for prompt in prompts[done:]:
            said = decode(_greedy(model, encoder(prompt), stated["answer_tokens"]))
            row = {"index": prompt["index"], "pred": said, "outputs": prompt["outputs"]}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    partial.replace(final)
    fsync(folder)


def _whole_lines(path: Path) -> int:
    """Cut off a last line that was not finished; return the number of lines left."""
    if not path.is_file():
        return 0
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        path.write_bytes(whole)
    return whole.count(b"\n")


def _greedy(model: Any, ids: list[int], most: int) -> list[int]:
    if max(ids) >= model.config.vocab_size:
        raise InputError(
            f"the prompt has token {max(ids):,}, the model's vocabulary is {model.config.vocab_size:,}; "
            "build the prompts with the model's own --tokenizer"
        )
    inputs = torch.tensor([ids], device=model.device)
    with torch.inference_mode():
        out = model.generate(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            max_new_tokens=most,
            do_sample=False,
            use_cache=True,  # a checkpoint of training may say otherwise
            pad_token_id=0,
        )
    new: list[int] = out[0, len(ids) :].tolist()
    ends = model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    return new[: next((at for at, token in enumerate(new) if token in ends), len(new))]
