"""A model that has learnt one call by heart answers with it: in the terminal, and over the OpenAI API."""

import json
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.train.post.servers import unused_port, wait_for

from smoldata.errors import InputError
from smoltrain.post.data import build_rows
from smoltrain.post.phases import phase_named
from smoltrain.post.recipe import load_rows_recipe
from smoltrain.post.sources import FolderSource
from smoltrain.post.talk import Chat, open_chat, read_reply, serve_command, talk
from smoltrain.post.traces import Limits, Prompt, Teacher, ask_all
from smoltrain.post.trainer import Job, run_phase

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
CALL = {"name": "f", "arguments": {"x": 1}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SYSTEM = {"role": "system", "content": "/system_override /no_think"}


@pytest.fixture(scope="module")
def parrot(base: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a checkpoint that knows one answer, learnt through our own SFT."""
    root = tmp_path_factory.mktemp("parrot")
    turns = [
        SYSTEM,
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": f"<tool_call>\n{json.dumps(CALL)}\n</tool_call>"},
    ]
    recipe = load_rows_recipe("sft")
    path = root / "raw" / recipe.config / "xlam_traces_no_think.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([{"messages": turns}]), path)
    rows = build_rows(recipe, FolderSource(root / "raw", recipe), root / "rows", tokenizer=tokenizer)
    phase = replace(phase_named("sft", "tiny"), max_length=128, batch=1, steps=80, learning_rate=1e-2)
    run_phase(Job(phase, base, tokenizer, rows, root / "run"))
    return root / "run" / "final"


def opened(folder: Path) -> Chat:
    chat = open_chat(folder, thinks=False, greedy=True, max_new_tokens=80)
    chat.messages.append(SYSTEM)
    return chat


def test_a_tool_call_is_read_out_of_a_reply(parrot: Path) -> None:
    reply = opened(parrot).answer("Go", tools=[TOOL])
    assert [call["function"] for call in reply["tool_calls"]] == [CALL]
    assert reply["content"] == ""


def test_the_terminal_changes_modes_and_forgets(parrot: Path) -> None:
    chat = opened(parrot)
    said: list[str] = []
    talk(chat, iter(["", "/think", "/no_think", "Go", "/clear", "/exit", "never read"]), said.append)
    assert said[1:] == ["mode: think", "mode: no_think", "[call] f {'x': 1}", "forgotten"]
    assert chat.messages == []
    assert not chat.thinks


def test_a_broken_call_is_content(parrot: Path) -> None:
    tokenizer = opened(parrot).tokenizer
    prompt, reply = (
        tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in ("<|im_start|>assistant\n", 'Hm <tool_call>\n{"name": \n</tool_call><|im_end|>')
    )
    read = read_reply(tokenizer, prompt, reply)
    assert "tool_calls" not in read
    assert '{"name": ' in read["content"]


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tokenizer"):
        open_chat(tmp_path)
    with pytest.raises(InputError, match="no tokenizer"):
        serve_command(tmp_path, "localhost", 0, thinks=True)


@pytest.mark.system
def test_the_server_answers_with_tool_calls(parrot: Path, tmp_path: Path) -> None:
    port = unused_port()
    """`transformers serve` on the checkpoint: tool calls parsed; and it is a teacher that can be asked."""
    program = serve_command(parrot, "127.0.0.1", port, thinks=False)
    assert program[0] == sys.executable
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(server, f"http://127.0.0.1:{port}/health")
            answer = _ask(port, parrot)
            teacher = Teacher(f"http://127.0.0.1:{port}/v1", str(parrot), max_tokens=16)
            asked = ask_all([Prompt("go", "Go")], teacher, tmp_path, Limits(at_once=1))
        finally:
            server.terminate()
    assert asked[0].finish
    assert ask_all([Prompt("go", "Go")], teacher, tmp_path) == asked, "what was said is kept, with no server"
    message = answer["choices"][0]["message"]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    call = message["tool_calls"][0]["function"]
    assert call["name"] == "f"
    assert json.loads(call["arguments"]) == {"x": 1}


def _ask(port: int, model: Path) -> dict[str, Any]:
    body = {
        "model": str(model),
        "messages": [SYSTEM, {"role": "user", "content": "Go"}],
        "tools": [TOOL],
        "temperature": 0.0,
        "max_tokens": 80,
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=200) as response:  # noqa: S310 - our own server
        answer: dict[str, Any] = json.loads(response.read())
    return answer
