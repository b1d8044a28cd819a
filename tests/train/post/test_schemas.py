"""Readers of the three schemas, and cleaning: every drop has its reason, nothing is lost in silence."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoltrain.post.cleaning import Evaluations, clean_row, row_key, without_emojis
from smoltrain.post.schemas import (
    CONVERSATION_SCHEMA,
    PAIR_SCHEMA,
    Conversation,
    Pair,
    RowError,
    read_conversation,
    read_pair,
    read_row,
)

ASK = {"role": "user", "content": "What is 2+2?"}
ANSWER = {"role": "assistant", "content": "4"}


def test_an_sft_row_keeps_messages_and_drops_null_arguments() -> None:
    given = {"custom_instructions": None, "enable_thinking": False, "python_tools": None, "xml_tools": ["{}"]}
    row = read_conversation({"messages": [ASK, ANSWER], "chat_template_kwargs": given}, 7, "s", "no_think")
    assert row.id == "s/7"
    assert row.arguments == {"enable_thinking": False, "xml_tools": ["{}"]}
    table = pa.Table.from_pylist([row.as_row()], schema=CONVERSATION_SCHEMA)
    assert table["messages"][0].as_py() == [ASK, ANSWER]


def test_custom_instructions_reach_the_rendering() -> None:
    """The published data once lost every system prompt to a null here."""
    from smoltrain.post.template import render

    given = {"custom_instructions": "You are a vampire technologist.", "enable_thinking": False}
    row = read_conversation({"messages": [ASK, ANSWER], "chat_template_kwargs": given}, 0, "s", "no_think")
    stored = pa.Table.from_pylist([row.as_row()], schema=CONVERSATION_SCHEMA).to_pylist()[0]
    assert "You are a vampire technologist." in render(stored["messages"], **stored["chat_template_kwargs"])


def test_a_mid_row_has_no_mode_of_its_own() -> None:
    assert read_conversation({"messages": [ASK, ANSWER], "source": "x"}, 0, "s", "mid").arguments == {}


def test_a_preference_row_drops_the_prompt_and_keeps_both_sides() -> None:
    wrong = {"role": "assistant", "content": "5"}
    row = {
        "prompt": "What is 2+2?",
        "chosen": [ASK, ANSWER],
        "rejected": [ASK, wrong],
        "chat_template_kwargs": {},
    }
    pair = read_pair(row, 3, "p", "think")
    stored = pa.Table.from_pylist([pair.as_row()], schema=PAIR_SCHEMA).to_pylist()[0]
    assert stored["chosen"] == [ASK, ANSWER]
    assert stored["rejected"] == [ASK, wrong]
    assert stored["chat_template_kwargs"]["enable_thinking"] is True
    assert "prompt" not in stored


SYSTEM = {"role": "system", "content": "x"}
STRANGER = {"role": "human", "content": "x"}
SILENT = {"role": "user", "content": None}
THINKS = {"enable_thinking": True}


@pytest.mark.parametrize(
    ("row", "mode", "reason"),
    [
        ({}, "think", "no-messages"),
        ({"messages": "hello"}, "think", "no-messages"),
        ({"messages": [ASK]}, "think", "ends-without-answer"),
        ({"messages": [ASK, {"role": "assistant", "content": " "}]}, "mid", "empty-answer"),
        ({"messages": [ASK, SYSTEM, ANSWER]}, "mid", "role-out-of-place"),
        ({"messages": [STRANGER, ANSWER]}, "mid", "role-out-of-place"),
        ({"messages": [SILENT, ANSWER]}, "mid", "content-not-a-text"),
        ({"messages": [ASK, ANSWER], "chat_template_kwargs": THINKS}, "no_think", "mode-differs"),
        ({"chosen": [ASK, ANSWER], "rejected": [ASK, ANSWER]}, "think", "same-answers"),
        ({"chosen": [ASK, ANSWER], "rejected": [ANSWER]}, "think", "prompts-differ"),
    ],
)
def test_a_row_that_cannot_be_used_has_its_reason(row: dict[str, Any], mode: Any, reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        read_row(row, 0, "s", mode, "pairs" if "chosen" in row else "conversations")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Great 😀!", "Great!"),
        ("😀 Hello 👋🏽 there", "Hello there"),
        ("a\n🎉 b\n🇫🇷 c", "a\nb\nc"),
        ("family 👨‍👩‍👧‍👦 and coder 👩‍💻.", "family and coder."),
        ("step 1️⃣ done ✔️", "step done"),
        ("wales 🏴󠁧󠁢󠁷󠁬󠁳󠁿!", "wales!"),
        ("© 2025 ™ # 1 * ☎ ↔ ✔ → ∑ é 漢字 123", "© 2025 ™ # 1 * ☎ ↔ ✔ → ∑ é 漢字 123"),
    ],
)
def test_pictures_go_and_signs_stay(text: str, wanted: str) -> None:
    assert without_emojis(text) == wanted


@given(st.text(st.characters(max_codepoint=0x2000, exclude_categories=["Cs"])))
def test_a_text_without_pictures_is_untouched(text: str) -> None:
    assert without_emojis(text) == text


@given(st.text())
def test_removing_twice_is_removing_once(text: str) -> None:
    once = without_emojis(text)
    if not any(mark in text for mark in "\ufe0f\u200d\u20e3"):  # these may join what stood apart
        assert without_emojis(once) == once


def conversation(*contents: str) -> Conversation:
    turns = [{"role": "user" if n % 2 == 0 else "assistant", "content": c} for n, c in enumerate(contents)]
    return read_conversation({"messages": turns}, 0, "s", "no_think")


def test_users_keep_their_emojis() -> None:
    clean = clean_row(conversation("Hi 😀", "Hello 😀"))
    assert isinstance(clean, Conversation)
    assert [message.content for message in clean.messages] == ["Hi 😀", "Hello"]


@pytest.mark.parametrize(
    "text", ["<|im_end|>", "x<|im_start|>system", "<|end_of_text|>", "<|reserved_special_token_11|>"]
)
def test_a_row_that_forges_turns_is_dropped(text: str) -> None:
    with pytest.raises(RowError, match="control-token"):
        clean_row(conversation(text, "ok"))
    assert clean_row(conversation("Use <think> and <tool_call>, |im_end|", "ok"))


def test_a_pair_that_differed_in_emojis_only_is_dropped() -> None:
    with pytest.raises(RowError, match="same-answers"):
        clean_row(Pair(conversation("Hi", "Hello 😀"), conversation("Hi", "Hello")))


def test_equal_rows_have_equal_keys() -> None:
    assert row_key(conversation("a", "b")) == row_key(conversation("a", "b"))
    assert row_key(conversation("a", "b")) != row_key(conversation("a", "c"))


def test_a_row_with_an_item_of_an_evaluation_set_is_found(tmp_path: Path) -> None:
    question = (
        "A farmer sells forty-two crates of plums at three markets and keeps seven crates for jam, how many?"
    )
    item = {"question": question, "answer": "35"}
    (tmp_path / "plums.jsonl").write_text(json.dumps(item) + "\n", encoding="utf-8")
    rows = [conversation("Hello there", "Hi"), conversation(f"Please: {question.upper()}", "35")]
    assert Evaluations([tmp_path]).contaminated(rows) == {1}
