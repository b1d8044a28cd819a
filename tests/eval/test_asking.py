"""The chat prompt: the same on every day, in both modes, with tools where the template has them."""

from pathlib import Path
from typing import Any

import pytest

from smoleval.asking import TODAY, chat_prompt

TEMPLATES = Path(__file__).parents[2] / "train" / "post"
TOOL = {"type": "function", "function": {"name": "tide", "description": "", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"x": 0}, unk_token="x")))  # noqa: S106 - a word
    made.chat_template = (TEMPLATES / "chat_template.jinja").read_text(encoding="utf-8")
    return made


def test_the_date_is_fixed_and_the_mode_is_the_system_prompts(tokenizer: Any) -> None:
    think, no_think = (chat_prompt(tokenizer, f"/{mode}", "Why?") for mode in ("think", "no_think"))
    for prompt in (think, no_think):
        assert f"Today Date: {TODAY}\n" in prompt
        assert "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n" in prompt
    assert "Reasoning Mode: /think\n" in think
    assert think.endswith("<|im_start|>assistant\n")
    assert no_think.endswith(("<think>\n\n</think>\n", "<think>\n\n</think>\n\n"))


def test_rulers_questions_have_the_fixed_date_and_thinking_off(tokenizer: Any) -> None:
    from smoleval.ruler.generate import _render

    asked = _render(tokenizer, "Why?")
    assert f"Today Date: {TODAY}\n" in asked
    assert asked == chat_prompt(tokenizer, None, "Why?", enable_thinking=False)
    assert asked.endswith(("<think>\n\n</think>\n", "<think>\n\n</think>\n\n"))


def test_a_template_that_asks_for_the_time_gets_the_fixed_date(tokenizer: Any) -> None:
    before = tokenizer.chat_template
    tokenizer.chat_template = (
        "{%- set now = strftime_now('%d %B %Y') -%}{{ now }}: {{ messages[-1].content }}"
    )
    try:
        assert chat_prompt(tokenizer, None, "Why?") == f"{TODAY}: Why?"
    finally:
        tokenizer.chat_template = before


def test_tools_are_shown_by_the_template(tokenizer: Any) -> None:
    assert "<tools>" not in chat_prompt(tokenizer, "/think", "Why?").partition("<|im_start|>user")[0]
    with_tools = chat_prompt(tokenizer, "/think", "Why?", [TOOL])
    assert '"name": "tide"' in with_tools.partition("<|im_start|>user")[0]
    assert "<tool_call>" in with_tools
