"""A post-trained checkpoint -> a conversation in the terminal, or the OpenAI API of `transformers serve`.

In the terminal a reply is shown as thoughts, content and tool calls, read by the tokenizer's response
template; `/think` and `/no_think` change the mode, `/clear` forgets, `/exit` ends. Sampling as published:
temperature 0.6, top_p 0.95. The server is transformers' own; it reads the same response template, so tool
calls come as ``tool_calls``.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smoldata.errors import InputError

TEMPERATURE = 0.6
TOP_P = 0.95
HELP = "/think and /no_think change the mode, /clear forgets, /exit ends"


@dataclass(slots=True)
class Chat:
    """A conversation with a checkpoint."""

    model: Any
    tokenizer: Any
    max_new_tokens: int = 256
    thinks: bool = True
    greedy: bool = False
    messages: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, text: str, tools: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Add a user's turn and the reply; return it with ``reasoning_content`` and ``tool_calls`` if any."""
        import torch

        self.messages.append({"role": "user", "content": text})
        inputs = self.tokenizer.apply_chat_template(
            self.messages,
            tools=tools,
            add_generation_prompt=True,
            enable_thinking=self.thinks,
            return_tensors="pt",
            return_dict=True,
        ).to(self.model.device)
        sampling = {} if self.greedy else {"temperature": TEMPERATURE, "top_p": TOP_P}
        with torch.no_grad():
            made = self.model.generate(
                **inputs,
                max_new_tokens=self.max_new_tokens,
                do_sample=not self.greedy,
                eos_token_id=self.tokenizer.eos_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
                **sampling,
            )
        prompt = inputs["input_ids"][0]
        reply = read_reply(self.tokenizer, prompt.tolist(), made[0, len(prompt) :].tolist())
        self.messages.append({"role": "assistant"} | reply)
        return reply


def read_reply(tokenizer: Any, prompt: list[int], reply: list[int]) -> dict[str, Any]:
    """Return what the ids of a reply say; one whose tool call is no JSON comes back as content, as it is."""
    try:
        parsed = tokenizer.parse_response(reply, prefix=tokenizer.decode(prompt))
    except ValueError:
        parsed = {"content": tokenizer.decode(reply, skip_special_tokens=True)}
    return {"content": ""} | {name: value for name, value in parsed.items() if name != "role"}


def need_tokenizer(checkpoint: Path) -> None:
    """Raise :class:`InputError` if a checkpoint has no tokenizer beside it."""
    if not (checkpoint / "tokenizer.json").is_file():
        raise InputError(f"{checkpoint} holds no tokenizer; make a whole model with `make posttrain`")


def open_chat(checkpoint: Path, **settings: Any) -> Chat:
    """Load a checkpoint that has a tokenizer beside it. Raises :class:`InputError` if it has none."""
    import torch
    from transformers import AutoTokenizer

    from smoltrain.model import load_model

    if not (checkpoint / "tokenizer.json").is_file():
        raise InputError(
            f"{checkpoint} holds no tokenizer; make a post-trained checkpoint with `make posttrain`"
        )
    model: Any = load_model(checkpoint).eval()
    model.config.use_cache = True
    model = model.to("cuda") if torch.cuda.is_available() else model
    return Chat(model, AutoTokenizer.from_pretrained(str(checkpoint), trust_remote_code=False), **settings)


def talk(chat: Chat, lines: Iterator[str], show: Callable[[str], None]) -> None:
    """Answer line by line until ``/exit`` or the end of the input."""
    show(f"mode: {'think' if chat.thinks else 'no_think'}. {HELP}")
    for raw in lines:
        line = raw.strip()
        if line == "/exit":
            return
        if line in {"/think", "/no_think"}:
            chat.thinks = line == "/think"
            show(f"mode: {line[1:]}")
        elif line == "/clear":
            chat.messages.clear()
            show("forgotten")
        elif line:
            for part in shown(chat.answer(line)):
                show(part)


def shown(reply: dict[str, Any]) -> Iterator[str]:
    """Yield a reply's parts as a terminal shows them."""
    if reply.get("reasoning_content"):
        yield f"[thoughts] {reply['reasoning_content'].strip()}"
    for call in reply.get("tool_calls") or ():
        yield f"[call] {call['function']['name']} {call['function'].get('arguments')}"
    if reply["content"].strip():
        yield reply["content"].strip()


def serve_command(checkpoint: Path, host: str, port: int, *, thinks: bool) -> list[str]:
    """Return the program that serves a checkpoint. Raises :class:`InputError` if it has no tokenizer."""
    if not (checkpoint / "tokenizer.json").is_file():
        raise InputError(
            f"{checkpoint} holds no tokenizer; make a post-trained checkpoint with `make posttrain`"
        )
    program = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve"]
    where = [str(checkpoint.resolve()), "--host", host, "--port", str(port)]
    return [*program, *where, "--chat-template-kwargs", json.dumps({"enable_thinking": thinks})]


def serve(checkpoint: Path, host: str, port: int, *, thinks: bool = True) -> None:
    """Become the server: this process is replaced, so that signals reach it."""
    program = serve_command(checkpoint, host, port, thinks=thinks)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.execv(program[0], program)  # noqa: S606 - an argument list, no shell
