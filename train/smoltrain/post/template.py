"""Messages into SmolLM3's chat format, by the project's own Jinja template; the tokenizer that carries it.

The template is a data file (``train/post/chat_template.jinja``); transformers renders it in its sandbox. Its
``{% generation %}`` marks are transformers' own statement: :func:`without_marks` makes the text that any
other Jinja engine takes. docs/chat_template.md has the arguments and what differs from the published one.
Cost: a rendering is microseconds; the first one imports transformers.
"""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smoldata.files import write_atomic

_MARK = re.compile(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}")

Message = Mapping[str, Any]


def data_file(name: str) -> Path:
    """Return a data file of post-training: in ``train/post/``, or in the installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parent.parent / "post" / name
    return checkout if checkout.is_file() else package / "files" / name


@functools.cache
def chat_template() -> str:
    """Return the text of the chat template."""
    return data_file("chat_template.jinja").read_text(encoding="utf-8")


@functools.cache
def chatml_template() -> str:
    """Return the text of the plain ChatML template of mid-training."""
    return data_file("chatml.jinja").read_text(encoding="utf-8")


@functools.cache
def response_template() -> dict[str, Any]:
    """Return what tells transformers how to read a reply: reasoning, tool calls, content."""
    value: dict[str, Any] = json.loads(data_file("response_template.json").read_bytes())
    return value


def without_marks(template: str) -> str:
    """Return a template without ``{% generation %}`` statements, for engines that don't know them.

    A comment with the same trim marks stands in each one's place, so the rendering has the same bytes.
    """
    return _MARK.sub(r"{#\1 \2#}", template)


def render(
    messages: Sequence[Message],
    *,
    add_generation_prompt: bool = False,
    template: str | None = None,
    **arguments: Any,
) -> str:
    """Return the conversation as text; ``arguments`` are the template's (docs/chat_template.md).

    Raises jinja2's ``TemplateError`` for a role that has no place.
    """
    return render_marked(
        messages, add_generation_prompt=add_generation_prompt, template=template, **arguments
    )[0]


def render_marked(
    messages: Sequence[Message],
    *,
    add_generation_prompt: bool = False,
    template: str | None = None,
    **arguments: Any,
) -> tuple[str, list[tuple[int, int]]]:
    """Return the text and the spans [begin, end) of its characters that are trained on."""
    from transformers.utils.chat_template_utils import render_jinja_template

    text = chat_template() if template is None else template
    texts, spans = render_jinja_template(
        conversations=[[dict(message) for message in messages]],
        chat_template=text,
        return_assistant_tokens_mask=_MARK.search(text) is not None,
        add_generation_prompt=add_generation_prompt,
        **arguments,
    )
    return texts[0], [(begin, end) for begin, end in spans[0]] if spans else []


def write_tokenizer(folder: Path, *, template: str | None = None) -> None:
    """Write the instruct model's tokenizer: Llama-3.2's vocabulary, SmolLM3's ten names, the template.

    Replies of a model with this folder are parsed into reasoning, content and tool calls by transformers.
    Raises TokenizerError when the vocabulary is not found. About 2 s, 17 MB.
    """
    from smoltok.export import export

    export(folder, chat=True, template=chat_template() if template is None else template)
    add_response_template(folder)


def add_response_template(folder: Path) -> None:
    """Add the response template to a tokenizer folder of any origin."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_bytes()) | {"response_template": response_template()}
    write_atomic(path, json.dumps(config, ensure_ascii=False, indent=1) + "\n")
