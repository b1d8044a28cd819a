"""Prompts: exact lengths with any tokenizer, answers where they can be found, the same bytes again."""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smoldata.errors import InputError
from smoleval.ruler.build import TOLERANCE, Spec, build, make_sample, material
from smoleval.ruler.tasks import KINDS, NOISE, TASKS, length_name, parse_length, parse_tasks


@pytest.fixture(scope="module")
def spec(tokenizer: str, prose: Path, question_files: tuple[str, str]) -> Spec:
    squad, hotpot = question_files
    return Spec(8192, 2, 7, tokenizer, str(prose), (("squad", squad), ("hotpotqa", hotpot)))


@settings(max_examples=40)
@given(
    name=st.sampled_from(sorted(TASKS)),
    length=st.integers(8000, 20_000),
    seed=st.integers(0, 9),
    around=st.integers(0, 60),
)
@example(name="qa_2", length=17_651, seed=0, around=0)  # documents of one size: an exchange gains nothing
def test_lengths_are_exact(spec: Spec, name: str, length: int, seed: int, around: int) -> None:
    """Any task at any length: prompt, template and reserved answer are 0 to 0.2 % below it."""
    one = replace(spec, length=length, seed=seed, template_tokens=around)
    parts = material(one)
    sample = make_sample(one, TASKS[name], 0, parts)
    counted = parts.meter.count(sample.draft.prompt) + around + KINDS[TASKS[name].kind].answer_tokens
    assert sample.length == counted
    assert length * (1 - TOLERANCE) <= counted <= length


@pytest.mark.parametrize("length", [4096, 32_768, 131_072])
def test_llamas_lengths_are_exact(prose: Path, question_files: tuple[str, str], length: int) -> None:
    squad, hotpot = question_files
    spec = Spec(length, 1, filler=str(prose), questions=(("squad", squad), ("hotpotqa", hotpot)))
    parts = material(spec)
    for task in TASKS.values():
        sample = make_sample(spec, task, 0, parts)
        reserved = KINDS[task.kind].answer_tokens
        assert sample.length == parts.meter.count(sample.draft.prompt) + reserved
        assert length * (1 - TOLERANCE) <= sample.length <= length


@pytest.mark.parametrize("task", [task for task in TASKS.values() if task.kind == "niah"])
def test_needles_are_in_the_haystack(spec: Spec, task: str) -> None:
    for index in range(3):
        draft = make_sample(spec, task, index, material(spec)).draft  # type: ignore[arg-type]  # parametrize
        found = dict.fromkeys(
            re.findall(r"One of the special magic \w+ for ([\w '-]+) is: ([\w-]+)\.", draft.user)
        )
        kind = TASKS[task.name]  # type: ignore[attr-defined]
        asked = re.findall(r"for ([\w '-]+(?:, [\w '-]+)*(?:, and [\w '-]+)?) mentioned", draft.user)[-1]
        keys = re.split(r", and |, ", asked)
        assert len(keys) == kind.queries
        assert [value for key in keys for at, value in found if at == key] != []
        by_key = {key: {value for at, value in found if at == key} for key in keys}
        assert set().union(*by_key.values()) == set(draft.answers)
        assert len(draft.answers) == kind.queries * kind.values
        if kind.haystack != "needle":
            assert len(found) == kind.keys * kind.values
        if kind.haystack == "noise":
            lines = draft.user.split("\n")
            assert Counter(lines)[NOISE] > len(lines) - 6
        plural = kind.queries * kind.values > 1
        assert draft.user.startswith("Some special magic" if plural else "A special magic")
        assert draft.answer_prefix.endswith(" are" if plural else " is")


def test_running_text_is_whole_and_in_order(spec: Spec) -> None:
    parts = material(spec)
    draft = make_sample(spec, TASKS["niah_single_2"], 0, parts).draft
    (needle,) = re.findall(r" ?One of the special magic numbers for [\w '-]+ is: \d+\.", draft.user)
    _, context, _ = draft.user.replace(needle, "").split("\n")
    assert parts.filler is not None
    words = context.split(" ")
    repeated = parts.filler.words * (len(words) // len(parts.filler.words) + 1)
    assert tuple(words) == repeated[: len(words)]


def test_variables_lead_to_the_value(spec: Spec) -> None:
    draft = make_sample(spec, TASKS["vt"], 1, material(spec)).draft
    solved, asked = draft.user.split("\n\nMemorize and track")
    value = re.findall(r"assigned the value (\d{5}) in the text above", asked)[-1]
    held = set()
    for name, first in re.findall(r"VAR (\w+) = (?:VAR )?(\w+)", asked):  # assigned before it is used
        if first == value or first in held:
            held.add(name)
    assert held == set(draft.answers)
    assert len(held) == 5
    assert "they are: " in solved
    assert all(re.fullmatch(r"[A-Z]{3}", word) for word in solved.rsplit("they are: ", 1)[1].split())


def test_common_words_are_the_most_common(spec: Spec) -> None:
    draft = make_sample(spec, TASKS["cwe"], 0, material(spec)).draft
    listed = draft.user.split("\n")[-2]
    entries = re.split(r" ?\d+\. ", listed)[1:]
    counts = Counter(entries)
    assert {word for word, count in counts.items() if count == 30} == set(draft.answers)
    assert set(counts.values()) == {3, 30}
    assert len(draft.answers) == 10
    short = make_sample(replace(spec, length=3000), TASKS["cwe"], 0, material(spec)).draft
    assert set(Counter(re.split(r" ?\d+\. ", short.user.split("\n")[-2])[1:]).values()) == {1, 6}


def test_frequent_words_are_the_most_frequent(spec: Spec) -> None:
    draft = make_sample(spec, TASKS["fwe"], 0, material(spec)).draft
    text = draft.user.split("coded words. ", 1)[1].split("\nQuestion")[0]
    counts = Counter(text.split(" ")).most_common(5)
    assert counts[0][0] == "..."
    assert tuple(word for word, _ in counts[1:4]) == draft.answers
    assert counts[3][1] > counts[4][1]


def test_questions_stand_with_their_documents(spec: Spec) -> None:
    parts = material(spec)
    for name, index in (("qa_1", 5), ("qa_2", 3)):
        draft = make_sample(spec, TASKS[name], index, parts).draft
        library = parts.libraries[TASKS[name].questions]
        question = library.questions[index]
        assert draft.answers == question.answers
        assert all(library.documents[one] in draft.user for one in question.documents)
        numbers = [int(one) for one in re.findall(r"^Document (\d+):$", draft.user, re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1))


def test_the_same_settings_give_the_same_bytes(spec: Spec, tmp_path: Path) -> None:
    tasks = parse_tasks("niah_multikey_2,cwe,fwe,qa_1")
    first = build(spec, tasks, tmp_path / "a")
    folder = tmp_path / "a" / "8k"
    bytes_of = {path.name: path.read_bytes() for path in folder.glob("*.json*")}
    assert build(spec, tasks, tmp_path / "b", workers=2) == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "b" / "8k").glob("*.json*")} == bytes_of
    # A file of a run that was cut off, a damaged one, and one that is right.
    (folder / "cwe.json").unlink()
    (folder / "fwe.jsonl").write_bytes(bytes_of["fwe.jsonl"][:100])
    (folder / "manifest.json").unlink()
    kept = (folder / "qa_1.jsonl").stat().st_ino
    assert build(spec, tasks, tmp_path / "a") == first
    assert {path.name: path.read_bytes() for path in folder.glob("*.json*")} == bytes_of
    assert (folder / "qa_1.jsonl").stat().st_ino == kept
    other = build(replace(spec, seed=8), tasks, tmp_path / "a")
    assert all(other["tasks"][name]["sha256"] != first["tasks"][name]["sha256"] for name in other["tasks"])


def test_a_prompt_depends_on_its_number_alone(spec: Spec, tmp_path: Path) -> None:
    few = build(spec, parse_tasks("niah_single_3"), tmp_path / "few")
    many = build(replace(spec, count=5), parse_tasks("niah_single_3"), tmp_path / "many")
    lines = [
        (tmp_path / part / "8k" / "niah_single_3.jsonl").read_text().splitlines() for part in ("few", "many")
    ]
    assert lines[1][:2] == lines[0]
    assert len(set(lines[1])) == 5
    assert few["sha256"] != many["sha256"]
    row = json.loads(lines[0][1])
    assert set(row) == {"index", "input", "answer_prefix", "outputs", "length", "length_w_model_temp"}


def test_what_is_missing_and_what_differs_is_said(spec: Spec, tmp_path: Path) -> None:
    bare = replace(spec, questions=(), filler="", build=str(tmp_path / "nothing"))
    made = build(bare, parse_tasks("niah_single_1,niah_single_2,qa_1"), tmp_path / "a")
    assert set(made["tasks"]) == {"niah_single_1"}
    assert set(made["missing"]) == {"niah_single_2", "qa_1"}
    assert any("without" in one for one in made["differs"])
    whole = build(replace(spec, count=1), parse_tasks("all"), tmp_path / "b")
    assert [one.split(" ")[0] for one in whole["differs"]] == ["running", "qa_1", "qa_2"]
    with pytest.raises(InputError, match="nothing to build: qa_2: no file of questions: --qa-2"):
        build(bare, parse_tasks("qa_2"), tmp_path / "c")


def test_rulers_own_texts_are_known(
    spec: Spec, tmp_path: Path, prose: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The essays by their file's name, the questions by form and number."""
    from smoleval.ruler import questions

    for name, path in spec.questions:
        count = len(questions.read_library(path, name).questions)
        monkeypatch.setitem(questions.PUBLISHED_QUESTIONS, name, count)
    essays = tmp_path / "PaulGrahamEssays.json"
    essays.write_text(json.dumps({"text": prose.read_text()}))
    made = build(replace(spec, count=1, filler=str(essays)), parse_tasks("all"), tmp_path / "out")
    assert made["differs"] == []
    squad, hotpot = (path for _, path in spec.questions)
    swapped = replace(spec, questions=(("squad", hotpot), ("hotpotqa", squad)))
    assert not any(library.published for library in material(swapped).libraries.values())


def test_the_documents_of_a_build_are_filler(tmp_path: Path, spec: Spec, prose: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from smoldata.documents import DOCUMENT_SCHEMA

    rows = [
        {"id": str(n), "text": text, "source": "wiki"}
        for n, text in enumerate(prose.read_text().split("\n\n"))
    ]
    folder = tmp_path / "sample" / "documents" / "wiki"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA), folder / "00000.parquet")
    one = replace(spec, filler="", build=str(tmp_path))
    filler, from_file = material(one).filler, material(spec).filler
    assert filler is not None
    assert from_file is not None
    assert filler.words == from_file.words
    assert filler.origin == "documents of the build: wiki"
    made = build(one, parse_tasks("niah_single_2"), tmp_path / "out")
    assert made["differs"][-1].startswith("running text is not RULER's essays but documents of the build")


def test_wrong_input_is_named(spec: Spec, tmp_path: Path) -> None:
    for text in ("12", "4x", "", "1023", "-4k"):
        with pytest.raises(InputError, match="give tokens of at least 1024"):
            parse_length(text)
    assert [length_name(parse_length(one)) for one in ("128k", "4096", "5000")] == ["128k", "4k", "5000"]
    with pytest.raises(InputError, match="no RULER task is named niah_single_9"):
        parse_tasks("vt,niah_single_9")
    with pytest.raises(InputError, match="no room for"):
        make_sample(replace(spec, length=1024), TASKS["vt"], 0, material(spec))
    bad = tmp_path / "bad.json"
    for content in ("", "{}", "[1, 2]", '{"data": 3}', '{"question": "a"}\n{"question": "b"}'):
        bad.write_text(content)
        with pytest.raises(InputError, match=r"bad\.json"):
            material(replace(spec, questions=(("squad", str(bad)),)))
    with pytest.raises(InputError, match="cannot read questions"):
        material(replace(spec, questions=(("squad", str(tmp_path / "none.whl!x")),)))
    with pytest.raises(InputError, match="--filler wants running text"):
        material(replace(spec, filler=str(tmp_path / "none.txt")))


def test_questions_inside_an_archive_and_as_lines(tmp_path: Path, spec: Spec) -> None:
    rows = [
        {"question": "who", "passage": "Ann did it.", "answer": "['Ann', 'Ann ', 'her']"},
        {"question": "is it", "passage": "It is.", "answer": "True"},
        {"question": "left out", "passage": "Nothing.", "answer": "None"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "rows.jsonl")
    parts = material(replace(spec, questions=(("squad", f"{tmp_path / 'packed.zip'}!rows.jsonl"),)))
    library = parts.libraries["squad"]
    assert [one.answers for one in library.questions] == [("Ann", "her"), ("yes",)]
    assert library.documents == ("Ann did it.", "It is.", "Nothing.")
    assert not library.published


def test_the_command(spec: Spec, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from smoleval.cli import app

    words = ["ruler", "build", "--length", "8k,10k", "--tasks", "vt,niah_single_2,qa_1", "--count", "1"]
    places = ["--out", str(tmp_path / "out"), "--tokenizer", spec.tokenizer, "--filler", spec.filler]
    app([*words, *places], standalone_mode=False)
    printed = capsys.readouterr()
    assert printed.out.count("niah_single_2") == 2
    assert "left out: qa_1: no file of questions: --qa-1" in printed.err
    assert "not comparable with published figures: without" in printed.err
    app([*words, *places, "--json"], standalone_mode=False)
    made = json.loads(capsys.readouterr().out)
    assert [one["length"] for one in made] == [8192, 10_240]
    assert made[0] == json.loads((tmp_path / "out" / "8k" / "manifest.json").read_text())
