"""Traces: asked once, kept or counted, gone on with, no faster than allowed; against real HTTP."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from smoldata.errors import SmolError, SourceError
from smoltrain.post.cli import post_app
from smoltrain.post.recipe import read_rows_recipe
from smoltrain.post.schemas import read_row
from smoltrain.post.sources import FolderSource
from smoltrain.post.trace_sets import make_traces, prompts_of
from smoltrain.post.traces import (
    THINK,
    Limits,
    Prompt,
    Reply,
    Teacher,
    ask_all,
    is_right,
    kept_rows,
    paced,
    pair_rows,
)

RECIPE = """format_version: 1
name: traces
unit: rows
kind: conversations
template: chat
dataset: nobody/nothing
config: SFT
subsets:
  traces_think: {weight: 1, mode: think}
"""
FAST = Limits(per_minute=1e9, at_once=2, attempts=1)


class Endpoint(ThreadingHTTPServer):
    """Speaks the OpenAI protocol; what it says depends on the prompt alone."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []
        self.broken = False
        self.hold_after: int | None = None
        self.held = threading.Event()
        self.released = threading.Event()

    @property
    def teacher(self) -> Teacher:
        """Return what asks this endpoint."""
        return Teacher(f"http://127.0.0.1:{self.server_address[1]}/v1", "teacher", max_tokens=64)


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        if self.server.hold_after is not None and len(self.server.asked) > self.server.hold_after:
            self.server.held.set()
            self.server.released.wait()
            return
        text = body["messages"][0]["content"].partition("\n")[0]
        message: dict[str, Any] = {
            "role": "assistant",
            "content": f"<think>\nHm.\n</think>\nThe answer is {text[-1]}.",
        }
        if "split" in text:
            message = {"role": "assistant", "reasoning_content": "Hm.", "content": "Fine."}
        if "shallow" in text:
            message["content"] = "Fine."
        if "begun" in text:
            message["content"] = "Hm.\n</think>\nFine."
        if THINK in body["messages"][0]["content"]:
            turns = len(body["messages"])
            message["content"] = f"Thoughts on {text}" if turns == 1 else f"The answer is {text[-1]}."
        finish = "length" if "long" in text else "stop"
        choice = {"index": 0, "finish_reason": finish, "message": message}
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": "teacher",
            "choices": [choice],
        }
        data = json.dumps(answer).encode()
        self.send_response(400 if self.server.broken else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


PROMPTS = [
    Prompt("a", "Which one? 4", answer="4"),
    Prompt("b", "Which other? 4", answer="5"),
    Prompt("c", "A long one 1"),
    Prompt("d", "A shallow one 1"),
    Prompt("e", "A split one"),
    Prompt("f", "Which one? 4", answer="4"),
]


def test_replies_are_kept_or_counted(endpoint: Endpoint, tmp_path: Path) -> None:
    replies = ask_all(PROMPTS, endpoint.teacher, tmp_path, FAST)
    assert [reply.prompt.id for reply in replies] == ["a", "b", "c", "d", "e"]
    assert len(endpoint.asked) == 5, "equal prompts are asked once"
    assert all(body["chat_template_kwargs"] == {"enable_thinking": True} for body in endpoint.asked)
    rows, dropped = kept_rows(replies, endpoint.teacher)
    assert dropped == {"wrong-answer": 1, "ended-by-length": 1, "no-thoughts": 1}
    assert [row["messages"][1]["content"] for row in rows] == [
        "<think>\nHm.\n</think>\nThe answer is 4.",
        "<think>\nHm.\n</think>\nFine.",
    ]
    assert rows[0]["source"].startswith("a by teacher, checked, ")
    for number, row in enumerate(rows):
        read_row(row, number, "traces_think", "think", "conversations")


def test_what_was_asked_is_not_asked_again(endpoint: Endpoint, tmp_path: Path) -> None:
    ask_all(PROMPTS[:2], endpoint.teacher, tmp_path, FAST)
    endpoint.broken = True
    with pytest.raises(SmolError, match="replies so far are kept"):
        ask_all(PROMPTS, endpoint.teacher, tmp_path, FAST)
    endpoint.broken = False
    before = len(endpoint.asked)
    replies = ask_all(PROMPTS, endpoint.teacher, tmp_path, FAST)
    assert {body["messages"][0]["content"] for body in endpoint.asked[before:]} <= {
        p.text for p in PROMPTS[2:]
    }
    assert ask_all(PROMPTS, endpoint.teacher, tmp_path, FAST) == replies
    assert "none" not in json.dumps([json.loads(path.read_bytes()) for path in tmp_path.rglob("*.json")])


def test_a_teacher_without_a_thinking_mode_is_asked_in_two_turns(endpoint: Endpoint, tmp_path: Path) -> None:
    teacher = replace(endpoint.teacher, style="two_turns")
    replies = ask_all(PROMPTS[:3], teacher, tmp_path, FAST)
    assert len(endpoint.asked) == 5, "no answer is asked for when the thoughts were cut"
    second = next(body for body in endpoint.asked if len(body["messages"]) == 3)
    assert [turn["role"] for turn in second["messages"]] == ["user", "assistant", "user"]
    rows, dropped = kept_rows(replies, teacher)
    assert dropped == {"wrong-answer": 1, "ended-by-length": 1}
    content = rows[0]["messages"][1]["content"]
    assert content == "<think>\nThoughts on Which one? 4\n</think>\nThe answer is 4."
    assert ask_all(PROMPTS[:3], teacher, tmp_path, FAST) == replies
    native = ask_all([Prompt("z", "A begun one")], endpoint.teacher, tmp_path, FAST)
    assert (native[0].thoughts, native[0].content) == ("Hm.", "Fine.")


@pytest.mark.timeout(300)
def test_killed_between_replies_it_goes_on_to_the_same_bytes(endpoint: Endpoint, tmp_path: Path) -> None:
    stored = [
        [{"role": "user", "content": f"Which? {n}"}, {"role": "assistant", "content": f"The answer is {n}."}]
        for n in range(6)
    ]
    path = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"messages": stored}), path)
    url = ["--url", endpoint.teacher.url, "--model", "teacher", "--at-once", "1", "--per-minute", "1e9"]

    def command(out: str) -> list[str]:
        words = ["post", "traces", str(path), *url, "--out", str(tmp_path / out)]
        return [sys.executable, "-c", "from smoltrain.cli import main; main()", *words]

    paths = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    endpoint.hold_after = 3
    with subprocess.Popen(command("cut"), env=paths, stdout=subprocess.DEVNULL) as process:
        assert endpoint.held.wait(200)
        process.kill()
    assert len(list((tmp_path / "cut").rglob("replies/*.json"))) == 3
    assert not (tmp_path / "cut" / "traces.json").exists()
    endpoint.hold_after = None
    endpoint.released.set()
    before = len(endpoint.asked)
    runner = CliRunner()
    for out in ("cut", "whole"):
        words = ["traces", str(path), *url, "--out", str(tmp_path / out)]
        assert runner.invoke(post_app, words, catch_exceptions=False).exit_code == 0
    assert len(endpoint.asked) == before + 3 + 6
    files = {
        one.relative_to(tmp_path / "whole") for one in (tmp_path / "whole").rglob("*.*") if one.is_file()
    }
    for one in files:
        assert (tmp_path / "cut" / one).read_bytes() == (tmp_path / "whole" / one).read_bytes()


def test_pairs_take_the_strong_over_the_weak(endpoint: Endpoint, tmp_path: Path) -> None:
    strong = ask_all(PROMPTS, endpoint.teacher, tmp_path / "strong", FAST)
    cut = {"e": "length"}
    weak = [Reply(one.prompt, "", "No idea.", cut.get(one.prompt.id, "stop"), one.key) for one in strong]
    teachers = (endpoint.teacher, Teacher("http://x/v1", "weak"))
    rows, dropped = pair_rows(strong, weak, teachers)
    assert dropped == {"wrong-answer": 1, "ended-by-length": 1, "no-thoughts": 1, "weak-reply-cut": 1}
    (row,) = rows
    assert row["rejected"][-1]["content"].endswith("No idea.")
    assert row["source"].endswith(" over weak")
    read_row(row, 0, "pairs_think", "think", "pairs")
    assert pair_rows(strong[:1], [], teachers) == ([], {"no-weak-reply": 1})


class VirtualClock(asyncio.SelectorEventLoop):
    """A loop whose time is the sleeps': exact, and over at once."""

    now = 0.0

    def time(self) -> float:
        """Return the virtual time."""
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(1, 4), st.sampled_from([0.5, 1, 60]))
def test_calls_are_no_faster_than_allowed(seconds: list[int], at_once: int, per_minute: float) -> None:
    starts: list[float] = []
    most = now = 0

    def taking(length: int) -> Any:
        async def call() -> None:
            nonlocal most, now
            starts.append(asyncio.get_running_loop().time())
            now += 1
            most = max(most, now)
            await asyncio.sleep(length)
            now -= 1

        return call

    with asyncio.Runner(loop_factory=VirtualClock) as runner:
        runner.run(paced([taking(length) for length in seconds], Limits(per_minute, at_once)))
    assert len(starts) == len(seconds)
    assert most <= at_once
    assert all(b - a >= 60 / per_minute - 1e-6 for a, b in itertools.pairwise(starts))
    if at_once * 60 / per_minute > 5:  # nobody waits for a free place
        assert starts == pytest.approx([number * 60 / per_minute for number in range(len(seconds))])


def test_traces_are_rows_that_a_recipe_reads(endpoint: Endpoint, tmp_path: Path) -> None:
    stored = [
        [{"role": "user", "content": "Which? 4"}, {"role": "assistant", "content": "The answer is (4)."}],
        [
            {"role": "user", "content": "Which? 5"},
            {"role": "assistant", "content": "So? The answer is 6."},
        ],
        [{"role": "user", "content": "Tell me"}, {"role": "assistant", "content": "No."}] * 2,
        [{"role": "user", "content": "A split one"}, {"role": "assistant", "content": "Free text"}],
    ]
    path = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"messages": stored}), path)
    prompts = prompts_of(path)
    assert [(one.id, one.answer) for one in prompts] == [
        ("plain/0", "4"),
        ("plain/1", "6"),
        ("plain/3", None),
    ]
    weak = replace(endpoint.teacher, model="weak")
    facts = make_traces(prompts, endpoint.teacher, tmp_path / "out", weak=weak, limits=FAST)
    assert (facts["asked"], facts["kept"], facts["dropped"]) == (3, 2, {"wrong-answer": 1})
    assert (facts["pairs"], facts["pairs_dropped"]) == (0, {"same-answers": 2, "wrong-answer": 1})
    recipe = read_rows_recipe(RECIPE, "traces.yaml")
    source = FolderSource(tmp_path / "out", recipe)
    rows = source.read("traces_think", [0, 1])
    assert [row["messages"][0]["content"] for row in rows] == ["Which? 4", "A split one"]
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    asked = len(endpoint.asked)
    make_traces(prompts, endpoint.teacher, tmp_path / "out", weak=weak, limits=FAST)
    assert len(endpoint.asked) == asked
    assert {path: path.read_bytes() for path in before} == before


def test_a_file_without_conversations_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=r"x\.parquet"):
        prompts_of(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("content", "answer", "right"),
    [
        ("The answer is (C).", "C", True),
        ("the answer is c", "(C)", True),
        ("The answer is 4. No, the answer is 5.", "4", False),
        ("Thus \\boxed{3.5}", "3.5", True),
        ("The answer is 3.5.", "3.5", True),
        ("It is 4", "4", False),
    ],
)
def test_the_last_stated_answer_counts(content: str, answer: str, right: bool) -> None:
    assert is_right(content, answer) == right
