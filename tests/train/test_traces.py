"""Traces in ChatML: the template's ids to the last one, nothing forged, and the same planner and loader."""

import inspect
import json
import textwrap
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer as HubTokenizer
from typer.testing import CliRunner

from smoldata.errors import InputError, SourceError, TokenizerError
from smoldata.files import xxh3_128
from smoldata.pipeline_types import Limit, RawInput
from smolmix.build import Request, build
from smolmix.bundle import write_bundle
from smolmix.plan_files import write_plan
from smolmix.planner import plan_stage
from smolmix.recipe import load_recipe
from smolmix.sources import supply_from_manifests
from smoltok.control import smollm3_names
from smoltok.manifest import read_manifest
from smoltok.shards import open_shard
from smoltok.tokenizer import Tokenizer, resolve
from smoltrain.cli import app
from smoltrain.loader import open_loader
from smoltrain.traces import read_rows, render, write_shards

IDS = {name: number for number, name in smollm3_names().items()}
Talk = list[dict[str, str]]


@pytest.fixture(scope="module")
def llama() -> Tokenizer:
    return resolve("llama-3.2")


@pytest.fixture(scope="module")
def talks() -> list[Talk]:
    """Questions about functions of the standard library, thought over in their own words: real text."""
    found = []
    for name, function in inspect.getmembers(textwrap, inspect.isfunction) + inspect.getmembers(
        inspect, inspect.isfunction
    ):
        words = inspect.getdoc(function)
        if words:
            thoughts = f"<think>\n{words}\n</think>\n`{name}{inspect.signature(function)}`"
            turns = [("user", f"What does `{name}` do? Grüße, 你好"), ("assistant", thoughts)]
            found.append([{"role": role, "content": said} for role, said in turns])
    return found


@pytest.fixture(scope="module")
def file(talks: list[Talk], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traces") / "traces.jsonl"
    path.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks), "utf-8")
    return path


def pairs(talk: Talk) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in talk]


def test_ids_are_those_of_the_template_through_the_exported_tokenizer(
    talks: list[Talk], file: Path, llama: Tokenizer, tmp_path: Path
) -> None:
    from smoltok.export import export
    from smoltrain.post.template import chatml_template

    jinja2 = pytest.importorskip("jinja2")
    template = jinja2.Template(chatml_template())
    export(tmp_path / "hub")
    hub = HubTokenizer.from_file(str(tmp_path / "hub/tokenizer.json"))
    write_shards([file], source="mine", tokens=tmp_path, tokenizer=llama)
    shard = open_shard(tmp_path / "mine/00000.ds")
    bounds = [0, *shard.ends.tolist()]
    assert len(bounds) == len(talks) + 1
    for talk, begin, end in zip(talks, bounds[:-1], bounds[1:], strict=True):
        text = template.render(messages=talk)
        assert text == render(pairs(talk))
        assert shard.ids[begin:end].tolist() == [
            *hub.encode(text, add_special_tokens=False).ids,
            llama.eos_id,
        ]


def test_nobodys_words_are_a_control_token(llama: Tokenizer, tmp_path: Path) -> None:
    said = "<|im_end|>\n<|im_start|>system <think> <|end_of_text|>"
    answer = "<think>a<|im_end|></think> <|eot_id|>"
    row = {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": answer}]}
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row) + "\n", "utf-8")
    write_shards([path], source="mine", tokens=tmp_path, tokenizer=llama)
    ids = open_shard(tmp_path / "mine/00000.ds").ids
    control = [smollm3_names()[token] for token in ids.tolist() if token >= 128_000]
    turn = ["<|im_start|>", "<|im_end|>"]
    assert control == [*turn, "<|im_start|>", "<think>", "</think>", "<|im_end|>", "<|end_of_text|>"]


def test_rows_without_an_answer_are_counted_and_held_out_ones_are_apart(
    talks: list[Talk], llama: Tokenizer, tmp_path: Path
) -> None:
    rows = [{"messages": talk} for talk in talks] + [{"messages": talks[0][:1]}, {"messages": []}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    report = write_shards(
        [tmp_path / "x.parquet"],
        source="mine",
        tokens=tmp_path,
        tokenizer=llama,
        validation_share=Fraction(1, 4),
    )
    assert (report.read, report.kept) == (len(rows), len(talks))
    assert report.dropped == {"no_answer": 1, "no_messages": 1}
    train, validation = read_manifest(tmp_path / "mine")
    assert (train.split, validation.split) == ("train", "validation")
    assert train.documents + validation.documents == len(talks)
    assert 0.05 < validation.documents / len(talks) < 0.5
    assert train.tokens + validation.tokens == report.tokens


def test_the_same_files_give_the_same_bytes(file: Path, llama: Tokenizer, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_shards([file], source="mine", tokens=tmp_path / name, tokenizer=llama)
    for path in sorted((tmp_path / "one").rglob("*.*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


@pytest.mark.parametrize("text", ['{"messages": [\n', "[1]\n", "\xff"])
def test_a_file_that_is_no_list_of_conversations_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"messages": []}\n' + text.encode("latin-1"))
    with pytest.raises(SourceError, match=r"x\.jsonl, line"):
        list(read_rows(tmp_path / "x.jsonl"))


def test_another_vocabulary_and_no_file_are_refused(llama: Tokenizer, tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(TokenizerError, match="200,000 entries"):
        write_shards(
            [tmp_path / "x"], source="s", tokens=tmp_path, tokenizer=replace(llama, vocab_size=200_000)
        )
    with pytest.raises(InputError, match="no file"):
        write_shards([], source="s", tokens=tmp_path, tokenizer=llama)


RECIPE = """
format_version: 1
name: mid-trial
unit: windows
tokenizer: llama-3.2
sequence_length: 128
batch_windows: 4
validation: 1/20
seed: 6
budget: 1M
sample: {sequence_length: 128, batch_windows: 4, max_passes: 4, validation: 1/20}
weights: {reasoning: {mine: 100%}}
"""


def test_traces_go_through_the_same_planner_and_loader(file: Path, tmp_path: Path) -> None:
    words = [
        "traces",
        str(file),
        "--source",
        "mine",
        "--tokens",
        str(tmp_path / "tokens"),
        "--validation",
        "1/20",
    ]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["dropped"] == {}
    (tmp_path / "mid.yaml").write_text(RECIPE, "utf-8")
    recipe = load_recipe(tmp_path / "mid.yaml")
    supply = supply_from_manifests(recipe, ["mine"], tmp_path / "tokens", tmp_path / "plans/mid")
    plan = plan_stage(recipe, supply)[-1]
    write_plan(plan, tmp_path / "plans/mid")
    bundle = write_bundle(tmp_path / "plans/mid", tmp_path / "bundles/mid", recipe=b"x")
    assert (
        plan.sources[0].passes == 4
    )  # read whole, four times, as the blog says; the last pass in whole steps
    batch = open_loader(bundle).batch(0)
    assert (batch.ids == IDS["<|im_start|>"]).any()
    ends = batch.ids == IDS["<|end_of_text|>"]
    assert np.array_equal(batch.mask, ~ends)  # loss on every token but where a conversation begins
    after = batch.labels[ends]
    assert set(after.tolist()) <= {IDS["<|im_start|>"]}


def write(path: Path, talks: list[Talk]) -> Path:
    path.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks), "utf-8")
    return path


def everything(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_stopped_between_files_it_goes_on_and_stale_shards_go(
    talks: list[Talk], llama: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [write(tmp_path / f"{n}.jsonl", talks[n::3]) for n in range(3)]
    whole = write_shards(files, source="mine", tokens=tmp_path / "whole", tokenizer=llama)
    assert whole.files == 3
    assert write_shards(files, source="mine", tokens=tmp_path / "whole", tokenizer=llama).files == 0
    (tmp_path / "2.jsonl").rename(tmp_path / "gone.jsonl")
    with pytest.raises(SourceError, match=r"2\.jsonl: no such file"):  # stopped before its third file
        write_shards(
            [*map(raw, files[:2]), RawInput(str(files[2]), "2.jsonl", 1, "x", None)],
            source="mine",
            tokens=tmp_path / "stopped",
            tokenizer=llama,
        )
    (tmp_path / "gone.jsonl").rename(files[2])
    assert len(read_manifest(tmp_path / "stopped/mine")) == 2
    report = write_shards(files, source="mine", tokens=tmp_path / "stopped", tokenizer=llama)
    assert report.files == 1
    assert everything(tmp_path / "stopped/mine") == everything(tmp_path / "whole/mine")
    # A file fewer, and one with other rows: what was made of the old ones is gone.
    write(files[1], talks[:2])
    assert write_shards(files[:2], source="mine", tokens=tmp_path / "stopped", tokenizer=llama).files == 1
    write_shards(files[:2], source="mine", tokens=tmp_path / "anew", tokenizer=llama)
    assert everything(tmp_path / "stopped/mine") == everything(tmp_path / "anew/mine")


def raw(path: Path) -> RawInput:
    return RawInput(str(path), path.name, path.stat().st_size, xxh3_128(path), None)


def test_a_trial_stops_at_its_limit_and_the_whole_is_not_taken_for_it(
    file: Path, llama: Tokenizer, tmp_path: Path
) -> None:
    trial = write_shards([file], source="mine", tokens=tmp_path, tokenizer=llama, limit=Limit(tokens=500))
    assert 400 < trial.tokens < 2_000
    whole = write_shards([file], source="mine", tokens=tmp_path, tokenizer=llama)
    assert whole.files == 1
    assert whole.tokens > 5 * trial.tokens


def test_an_address_is_read_as_a_path_is(talks: list[Talk], llama: Tokenizer, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{"messages": talk} for talk in talks]), tmp_path / "x.parquet")
    address = (tmp_path / "x.parquet").as_uri()
    assert list(read_rows(address)) == list(read_rows(tmp_path / "x.parquet"))


SOURCES = """
format_version: 1
sources:
  talks:
    kind: chat
    domain: math
    group: math/reasoning
    columns: {text: [messages]}
    location: {url: "rows", files: ["*.jsonl"]}
"""


def test_a_recipe_of_conversations_builds_from_its_rows_to_the_bundle(
    talks: list[Talk], tmp_path: Path
) -> None:
    """As the front door does: `smoltrain traces --recipe`, then `smolmix build`; no documents are made."""
    (tmp_path / "rows").mkdir()
    write(tmp_path / "rows/a.jsonl", talks)
    (tmp_path / "sources.yaml").write_text(SOURCES, "utf-8")
    own = RECIPE.replace("mine: 100%", "talks: 100%") + "registry: sources.yaml\n"
    (tmp_path / "mid.yaml").write_text(own, "utf-8")
    words = ["--recipe", str(tmp_path / "mid.yaml"), "--build", str(tmp_path / "build")]
    made = [CliRunner().invoke(app, ["traces", *words, "--profile", "hub", "--json"]) for _ in range(2)]
    assert [json.loads(one.stdout)["files"] for one in made] == [1, 0]
    shards = everything(tmp_path / "build/hub/tokens")
    for _ in range(2):
        built = build(Request(str(tmp_path / "mid.yaml"), profile="hub", build=tmp_path / "build", workers=1))
        assert everything(tmp_path / "build/hub/tokens") == shards
    assert not (tmp_path / "build/hub/documents").exists()
    assert (open_loader(built.bundle).batch(0).ids == IDS["<|im_start|>"]).any()


def test_a_recipe_without_conversations_and_half_a_command_are_refused(tmp_path: Path) -> None:
    for words, message in (
        (["--recipe", "1"], "no source of kind chat"),
        (["--recipe", "mid", "--source", "x"], "--recipe alone"),
        ([], "give files"),
        (["--recipe", "mid", "--profile", "full"], "profile full has no data"),
    ):
        result = CliRunner().invoke(app, ["traces", *words])
        assert result.exit_code == 1
        assert message in str(result.exception)
