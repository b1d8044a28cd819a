"""Speed of log-likelihood scoring: the engine against the bare forward pass of the same batches.

    python benchmarks/bench_eval.py [--size tiny --device cpu --prompts FILE]

A SmolLM3 of a size with random weights scores multiple-choice requests: texts and choices from FILE (JSON
lines: prompt, choices), or from the standard library's documentation. Measured: tokenization alone; the
engine from prompts to ln p of every choice; and the model's forward pass on the engine's own batches, once
without any logits (the least that must be done) and once with the logits of every position. Best of two
rounds. ``--batch-tokens`` is the engine's.
"""

import argparse
import inspect
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from smoleval.loglikelihood import Row, answers, batches, inputs, rows_of, split
from smoltrain.hyperparameters import size_named
from smoltrain.model import build_config

Item = tuple[str, list[str]]
ROUNDS = 2


def main() -> None:
    """Run the benchmark and print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--prompts", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    given = parser.parse_args()
    tokenizer = _tokenizer(given.tokenizer)
    items = list(_from_file(given.prompts) if given.prompts else _documentation())[: given.items]
    model = _model(given.size, given.device)
    print(json.dumps(measure(model, tokenizer, items, given.batch_tokens) | _facts(given)))


def measure(model: Any, tokenizer: Any, items: Sequence[Item], batch_tokens: int) -> dict[str, Any]:
    """Return seconds, tokens and requests a second, and the engine's share of the bare forward pass."""
    prompts, choices = [prompt for prompt, _ in items], [group for _, group in items]
    seconds: dict[str, float] = {}
    rows: list[Row] = []
    for _ in range(ROUNDS):
        tokenized = _timed(lambda: split(tokenizer, prompts, choices, special=True), model)
        rows, _cut = rows_of(tokenized[1], 4096)
        packed = list(batches(rows, batch_tokens))
        scored = _timed(lambda: _engine(model, tokenizer, prompts, choices, batch_tokens), model)
        body = _timed(lambda packed=packed: _bare(model.base_model, packed), model)
        whole = _timed(lambda packed=packed: _bare(model, packed), model)
        for name, took in zip(
            ("tokenizing", "engine", "forward", "forward_with_logits"),
            (tokenized[0], scored[0], body[0], whole[0]),
            strict=True,
        ):
            seconds[name] = min(took, seconds.get(name, took))
    tokens = sum(len(row.ids) for row in rows)
    requests = sum(len(row.requests) for row in rows)
    padding = sum(inputs(batch).numel() for batch in batches(rows, batch_tokens)) / tokens - 1
    return {
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "requests": requests,
        "distinct_inputs": len(rows),
        "tokens": tokens,
        "padding_percent": round(100 * padding, 2),
        "tokens_per_second": round(tokens / seconds["engine"]),
        "requests_per_second": round(requests / seconds["engine"], 1),
        "percent_of_forward": round(100 * seconds["forward"] / seconds["engine"], 1),
        "percent_of_forward_with_logits": round(100 * seconds["forward_with_logits"] / seconds["engine"], 1),
    }


def _engine(
    model: Any, tokenizer: Any, prompts: list[str], choices: list[list[str]], batch_tokens: int
) -> float:
    rows, _ = rows_of(split(tokenizer, prompts, choices, special=True), 4096)
    return sum(answer.logprob for _, answer in answers(model, rows, batch_tokens))


@torch.inference_mode()
def _bare(model: Any, packed: Sequence[Sequence[Row]]) -> None:
    for batch in packed:
        model(input_ids=inputs(batch).to(model.device), use_cache=False)


def _timed(call: Callable[[], Any], model: Any) -> tuple[float, Any]:
    begin = time.perf_counter()
    value = call()
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin, value


def _model(size: str, device: str) -> Any:
    from transformers import SmolLM3ForCausalLM

    config = build_config(
        size_named(size),
        vocab_size=128_256,
        eos_id=128_001,
        sequence_length=4096,
        rope_theta=50_000,
    )
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = SmolLM3ForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    return model.eval()


def _tokenizer(path: Path | None) -> Any:
    from transformers import PreTrainedTokenizerFast

    if path is not None:
        return PreTrainedTokenizerFast(tokenizer_file=str(path))
    from smoltok.export import export

    with tempfile.TemporaryDirectory() as folder:
        export(Path(folder), "llama-3.2")
        return PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json")


def _from_file(path: Path) -> Iterator[Item]:
    for line in path.read_text(encoding="utf-8").strip("\n").split("\n"):
        row = json.loads(line)
        yield row["prompt"], row["choices"]


def _documentation() -> Iterator[Item]:
    """Yield paragraphs of documentation, each with four sentences to choose from."""
    import argparse as one
    import json as four
    import logging as two
    import subprocess as three
    import unittest as five

    texts = [
        inspect.getdoc(value) or ""
        for module in (one, two, three, four, five)
        for value in vars(module).values()
        if inspect.isclass(value) or inspect.isfunction(value)
    ]
    parts = [" ".join(text.split()) for text in texts if len(text) > 80]
    for number, part in enumerate(parts * 4):
        others = [parts[(number + step) % len(parts)][:40] for step in range(4)]
        yield f"{part[: 200 + 37 * (number % 17)]}\nAnswer:", [f" {other}" for other in others]


def _facts(given: argparse.Namespace) -> dict[str, Any]:
    import transformers

    gpu = torch.cuda.get_device_name() if given.device == "cuda" else ""
    return {
        "size": given.size,
        "device": gpu or given.device,
        "batch_tokens": given.batch_tokens,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


if __name__ == "__main__":
    main()
