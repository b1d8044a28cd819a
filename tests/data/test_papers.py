"""Whole papers by peS2o's rules: the body is judged, improbable paragraphs go, most paragraphs' language."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import get_filter_result
from tests.data.helpers import real_texts
from tests.data.heuristics.conftest import paragraphs

from smoldata.errors import InputError, IntegrityError, RecipeError
from smoldata.files import sha256
from smoldata.papers import PaperFilter, WordProbabilities, read_counts
from smoldata.reading import Report
from smoldata.recipe import load_pipeline
from smoldata.rules import PaperSettings
from smoldata.running import run_pipeline
from smoldata.steps import StepContext, make_steps
from smoldata.writing import write_rows

FRONT = ["A title about measuring", "An abstract of it."]


def decide(rules: PaperSettings, body: list[str], base: Path = Path()) -> tuple[str, str]:
    """Return why a paper is dropped (empty: kept), and its text afterwards."""
    document = Document(text="\n\n".join([*FRONT, *body]) + "\n", id="x")
    keep, why = get_filter_result(PaperFilter(rules, base).filter(document))
    assert keep == (not why)
    return why or "", document.text


GOOD = [f"Paragraph {name} says that we measured it twice." for name in "abcde"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (GOOD, ""),
        (GOOD[:4], "few_paragraphs"),
        (["the the the end"] * 5, "frequent_word"),
        ([f"| {name} | one | two" for name in "abcde"], "frequent_word"),
        (["A b A c A d e f"] * 5, "frequent_word"),  # one letter is no word
        (["é é u v w x y"] * 5, "frequent_word"),
        (["twice"] * 5, "few_words"),
        (GOOD * 20, "many_words"),
        ([], "few_words"),
    ],
)
def test_rules_on_words_and_paragraphs(body: list[str], reason: str) -> None:
    rules = PaperSettings(least_words=6, most_words=300, least_paragraphs=5, most_frequent_word=0.3)
    assert decide(rules, body)[0] == reason


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table of word counts in the published form, counted on the standard library."""
    words = Counter(word.lower() for text in real_texts(120) for word in text.split() if word.isalpha())
    path = tmp_path_factory.mktemp("words") / "unigram_freq.csv"
    lines = [f"{word},{count}" for word, count in words.most_common()]
    path.write_text("\n".join(["word,count", *lines]) + "\n", encoding="utf-8")
    return path


def test_the_mean_is_the_published_formula(counts: Path) -> None:
    table = dict(line.split(",") for line in counts.read_text().splitlines()[1:])
    total = sum(map(int, table.values()))
    found = read_counts(counts, sha256(counts))
    unknown = math.log2((math.sqrt(len(table)) + 1) / total)
    wanted = (math.log2(int(table["the"]) / total) + math.log2(int(table["of"]) / total) + unknown) / 3
    assert found.mean(["The", "of", "qqqq"]) == pytest.approx(wanted, abs=1e-12)
    assert found.mean([]) == 0
    assert WordProbabilities({"a": 1}).mean(["a"]) == 0


def test_improbable_paragraphs_are_taken_out(counts: Path) -> None:
    probabilities = read_counts(counts, sha256(counts))
    english = "This is what the value of the list is in a file."
    noise = "xq zzv wqq 7fk qqp vvx"
    least = (probabilities.mean(english.split()) + probabilities.mean(noise.split())) / 2
    given: dict[str, Any] = {"word_counts": counts.name, "word_counts_sha256": sha256(counts)}
    rules = PaperSettings(least_paragraphs=3, least_log_probability=least, **given)
    text = "\n\n".join([*FRONT, english, english, english]) + "\n"
    assert decide(rules, [english, noise, english, english], counts.parent) == ("", text)
    assert decide(rules, [english, noise, noise, english], counts.parent)[0] == "few_paragraphs"
    assert decide(rules, [english] * 3, counts.parent)[1] == text


def test_the_language_is_that_of_most_paragraphs(tmp_path: Path) -> None:
    pytest.importorskip("fasttext", reason="needs fasttext: make setup-curate")
    from smoldata.scoring import fasttext_worker

    english = "we measured the value of this in a file and it was the same"
    french = "nous avons mesuré la valeur de ceci dans un fichier et elle était la même"
    rows = [f"__label__en {english}", f"__label__fr {french}"] * 40
    (tmp_path / "train.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    arguments = json.dumps(
        {"epoch": 20, "thread": 1, "verbose": 0, "dim": 100, "bucket": 84_000, "wordNgrams": 2}
    )
    files = [str(tmp_path / name) for name in ("train.txt", "lid.bin")]
    # In a process of its own, with a large matrix: smoldata.scoring.fasttext_worker says why.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    subprocess.run([sys.executable, fasttext_worker.__file__, *files, arguments], check=True, env=environment)
    given = {"language_model": "lid.bin", "language_model_sha256": sha256(tmp_path / "lid.bin")}
    rules = PaperSettings.model_validate(given)
    assert decide(rules, [english, french, english], tmp_path)[0] == ""
    assert decide(rules, [french, english, french], tmp_path)[0] == "language"
    assert decide(PaperSettings.model_validate({**given, "language": "fr"}), [french], tmp_path)[0] == ""


def test_files_are_pinned_and_looked_at_first(counts: Path, tmp_path: Path) -> None:
    context = StepContext("mine", None, Report(), tmp_path)
    (tmp_path / "empty.csv").write_text("word,count\n")
    wrong: list[tuple[type[Exception], dict[str, str]]] = [
        (RecipeError, {"word_counts": str(counts)}),
        (IntegrityError, {"word_counts": str(counts), "word_counts_sha256": "0" * 64}),
        (InputError, {"word_counts": "nowhere.csv", "word_counts_sha256": "0" * 64}),
        (InputError, {"word_counts": "empty.csv", "word_counts_sha256": sha256(tmp_path / "empty.csv")}),
        (InputError, {"language_model": "nowhere.bin", "language_model_sha256": "0" * 64}),
    ]
    for kind, settings in wrong:
        with pytest.raises(kind):
            make_steps("paper", settings, context)


def test_the_recipe_judges_rendered_papers(counts: Path, tmp_path: Path) -> None:
    text = " ".join(" ".join(paragraphs(30)).split())
    assert len(text.split()) > 600
    sections = [{"heading": f"Section {number}", "text": text} for number in range(6)]
    rows = [
        {"id": "long", "title": "Tabs", "abstract": "They are read.", "sections": sections},
        {
            "id": "short",
            "title": "Tabs",
            "abstract": "They are read.",
            "sections": [{"heading": "One", "text": text[:400]}],
        },
    ]
    write_rows(tmp_path / "a.jsonl", rows, "jsonl")
    digest = sha256(counts)
    given = {
        "render": "paper",
        "whole_papers": True,
        "word_counts": str(counts),
        "word_counts_sha256": digest,
    }
    recipe = load_pipeline("pes2o", given)
    assert [step.name for step in recipe.steps] == ["length", "paper"]
    built = run_pipeline("pes2o", [str(tmp_path / "a.jsonl")], tmp_path / "out", parameters=given, workers=1)
    assert (built.read, built.kept, built.dropped) == (2, 1, {"few_words": 1})
