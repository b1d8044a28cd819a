"""A question -> the text that a chat template makes of it, the same on every day.

SmolLM3's template writes today's date into the system turn. Here it is always that of SmolLM3's release, so
that an evaluation run tomorrow asks what today's asked. Tools go through the template's own place for them.
"""

from collections.abc import Sequence
from typing import Any

TODAY = "08 July 2025"
_MACRO = "{% macro strftime_now(form) %}" + TODAY + "{% endmacro %}"
"""Stands for transformers' function of this name: a template's own names come first."""


def chat_prompt(
    tokenizer: Any,
    system: str | None,
    question: str,
    tools: Sequence[dict[str, Any]] | None = None,
    **switches: bool,
) -> str:
    """Return one user turn as the tokenizer's template writes it, up to where the answer begins.

    ``switches`` are the template's own, such as ``enable_thinking``.
    """
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    given = list(tools) if tools else None
    template = str(tokenizer.get_chat_template(tools=given))
    if "strftime_now" in template:
        template = _MACRO + template
    return str(
        tokenizer.apply_chat_template(
            messages,
            tools=given,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
            date_string=TODAY,
            **switches,
        )
    )
