"""The chat template: golden renderings in two engines, marks on the assistant alone, replies read back.

``golden/<case>.txt`` holds what a case of ``golden/cases.json`` becomes; ⟦ and ⟧ stand around what is
trained on. The renderings of ``released`` were compared with the published template's, byte for byte, over
9,216 combinations of arguments, when this was written.
"""

import json
from pathlib import Path
from typing import Any

import minijinja
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError

from smoltrain.post.template import (
    chat_template,
    chatml_template,
    render,
    render_marked,
    response_template,
    without_marks,
)

GOLDEN = Path(__file__).parent / "golden"
CASES: dict[str, dict[str, Any]] = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))
DATE = "22 November 2026"


def marked(messages: list[dict[str, Any]], arguments: dict[str, Any]) -> str:
    text, spans = render_marked(messages, **{"date_string": DATE} | arguments)
    for begin, end in reversed(spans):
        text = f"{text[:begin]}⟦{text[begin:end]}⟧{text[end:]}"
    return text


def in_minijinja(template: str, messages: list[dict[str, Any]], arguments: dict[str, Any]) -> str:
    """Render in minijinja with what a chat host gives: a tojson that escapes nothing, and an error."""

    def refuse(message: str) -> str:
        raise ValueError(message)

    environment = minijinja.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.add_filter("tojson", lambda value: json.dumps(value, ensure_ascii=False))
    environment.add_function("raise_exception", refuse)
    return environment.render_str(
        without_marks(template), messages=messages, **{"date_string": DATE} | arguments
    )


@pytest.mark.parametrize("case", CASES)
def test_golden_rendering_in_transformers(case: str) -> None:
    wanted = (GOLDEN / f"{case}.txt").read_text(encoding="utf-8")
    assert marked(CASES[case]["messages"], CASES[case]["arguments"]) == wanted


@pytest.mark.parametrize("case", CASES)
def test_the_same_bytes_in_minijinja(case: str) -> None:
    wanted = (GOLDEN / f"{case}.txt").read_text(encoding="utf-8").replace("⟦", "").replace("⟧", "")
    assert in_minijinja(chat_template(), CASES[case]["messages"], CASES[case]["arguments"]) == wanted


def test_every_golden_file_has_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(CASES)


# Without control characters: Python counts four more of them as white space than Rust does.
_CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="⟦⟧") | st.just("\n")
_TEXT = st.text(_CHARACTERS, max_size=20)
_TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool"]), "content": _TEXT})
_SYSTEM = st.none() | st.builds(
    "{}{}".format, st.sampled_from(["", "/think ", "/no_think ", "/system_override "]), _TEXT
)
_TOOLS = st.none() | st.lists(
    st.fixed_dictionaries({"name": _TEXT, "parameters": st.just({"type": "object"})}), max_size=2
)


@settings(deadline=None, max_examples=60)
@given(
    system=_SYSTEM,
    turns=st.lists(_TURN, max_size=5),
    thinks=st.none() | st.booleans(),
    tools=_TOOLS,
    prompt=st.booleans(),
)
def test_turns_are_closed_and_marks_cover_the_assistant_alone(
    system: str | None, turns: list[dict[str, Any]], thinks: bool | None, tools: Any, prompt: bool
) -> None:
    first = [] if system is None else [{"role": "system", "content": system}]
    arguments = {
        "enable_thinking": thinks,
        "tools": tools,
        "add_generation_prompt": prompt,
        "date_string": DATE,
    }
    messages = [*first, *turns] or [{"role": "user", "content": ""}]
    text, spans = render_marked(messages, **arguments)
    assert in_minijinja(chat_template(), messages, arguments) == text
    shown = [turn for turn in messages if turn["role"] != "system"]
    assert text.count("<|im_start|>") == 1 + len(shown) + prompt
    assert text.count("<|im_end|>") == 1 + len(shown)
    assert len(spans) == sum(turn["role"] == "assistant" for turn in messages)
    answers = [turn["content"] for turn in messages if turn["role"] == "assistant"]
    for (begin, end), answer in zip(spans, answers, strict=True):
        assert text[begin:end].startswith("<|im_start|>assistant\n")
        assert text[begin:end].endswith(answer.lstrip("\n") + "<|im_end|>\n")


def test_a_system_turn_in_the_middle_is_refused() -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "system", "content": "late"}]
    with pytest.raises(TemplateError, match="message 2 has the role system"):
        render(messages)
    with pytest.raises(ValueError, match="message 2 has the role system"):
        in_minijinja(chat_template(), messages, {})


def test_chatml_marks_nothing_and_adds_nothing() -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    text, spans = render_marked(messages, template=chatml_template())
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n"
    assert spans == []
    assert in_minijinja(chatml_template(), messages, {}) == text


def read(reply: str, **arguments: Any) -> dict[str, Any]:
    from transformers.utils.chat_parsing import parse_response

    prompt = render([{"role": "user", "content": "Hi"}], add_generation_prompt=True, **arguments)
    value: dict[str, Any] = parse_response(reply, response_template(), prefix=prompt)
    return value


def test_a_reply_is_read_into_thoughts_calls_and_content() -> None:
    calls = [{"name": "a", "arguments": {"x": 1}}, {"name": "b", "arguments": {"y": [True, None]}}]
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Two", "tool_calls": calls},
    ]
    prompt = render(messages[:1], add_generation_prompt=True, date_string=DATE)
    reply = render(messages, date_string=DATE).removeprefix(prompt)
    seen = read("<think>\nHm.\n</think>\n" + reply)
    assert seen["reasoning_content"].strip() == "Hm."
    assert [call["function"] for call in seen["tool_calls"]] == calls
    assert seen["content"].strip() == "Two"


def test_a_reply_without_thoughts_is_content() -> None:
    seen = read("Hello<|im_end|>\n", enable_thinking=False)
    assert seen["content"] == "Hello"
    assert "tool_calls" not in seen


@pytest.mark.parametrize(
    "cut",
    [
        '<tool_call>\n{"name": "a", "argu',
        '<tool_call>\n{"name": "a"}\n</tool_call><|im_end|>',
        "<tool_call>\nnothing\n</tool_call><|im_end|>",
    ],
)
def test_a_call_that_is_cut_or_malformed_is_content(cut: str) -> None:
    """A server that raised on it would answer 500."""
    seen = read("Well. " + cut, enable_thinking=False)
    assert "tool_calls" not in seen
    assert seen["content"] == "Well. " + cut.removesuffix("<|im_end|>")


def test_a_call_is_read_whole_however_it_is_streamed() -> None:
    from transformers.utils.chat_parsing import ResponseParser

    prompt = render([{"role": "user", "content": "Hi"}], add_generation_prompt=True, enable_thinking=False)
    call = {"name": "a", "arguments": {"x": {"y": [1, "}"]}}}
    one = f"<tool_call>\n{json.dumps(call)}\n</tool_call>"
    text = f"One\n{one}\n{one}<|im_end|>"
    for size in (1, 3, 50):
        parser = ResponseParser(response_template(), prefix=prompt)
        for begin in range(0, len(text), size):
            parser.feed(text[begin : begin + size])
        message, _ = parser.finalize()
        assert [one["function"] for one in message["tool_calls"]] == [call, call]
        assert message["content"] == "One"
