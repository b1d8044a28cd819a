"""Languages whose words only a library can tell: the same words as datatrove's, or an error that says how."""

import json
import subprocess
import sys
from typing import Any

import pytest
from datatrove.utils import word_tokenizers

from smoldata.errors import RecipeError
from smoldata.heuristics.splitter import require_splitter
from smoldata.rules import fineweb2_numbers
from smoldata.steps import StepContext, make_steps

TEXTS = {
    "cmn_Hani": "今天天气很好、我们去公园散步。他说好的。",
    "jpn_Jpan": "今日は天気がいいので、公園へ散歩に行きます。",
    "kor_Hang": "오늘은 날씨가 좋아서 공원에 산책하러 갑니다.",
    "hin_Deva": "आज मौसम अच्छा है, हम पार्क में टहलने जाते हैं।",
    "tha_Thai": "วันนี้อากาศดี เราไปเดินเล่นที่สวนสาธารณะ",
    "vie_Latn": "Hôm nay trời đẹp, chúng tôi đi dạo trong công viên.",
}
PROGRAM = """
import json, sys
from datatrove.data import Document
from datatrove.utils.text import split_into_words
from smoldata.heuristics.splitter import WordSplitter
from smoldata.steps import StepContext, make_steps
from smoldata.reading import Report
from pathlib import Path
found = {}
for language, text in json.load(sys.stdin).items():
    splitter = WordSplitter(language)
    long = "\\n".join([text] * 3)
    same = splitter.words(long) == split_into_words(long, language)
    context = StepContext("x", language, Report(), Path())
    document = Document(text=long, id="x")
    verdicts = [step.filter(document) for step in make_steps("fineweb2_heuristics", {}, context)]
    found[language] = [same, splitter.words(text), len(verdicts)]
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    "languages",
    [
        ["jpn_Jpan", "hin_Deva"],
        # Libraries that take seconds to load.
        pytest.param(["cmn_Hani", "kor_Hang", "tha_Thai", "vie_Latn"], marks=pytest.mark.system),
    ],
)
def test_words_and_verdicts_of_languages_that_need_a_library(languages: list[str]) -> None:
    try:
        list(map(require_splitter, languages))
    except RecipeError as error:
        pytest.skip(str(error))
    # In a process of its own: some of these libraries warn as they are imported.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        input=json.dumps({language: TEXTS[language] for language in languages}),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == languages
    for language, (same, words, verdicts) in found.items():
        assert same, language
        assert verdicts == 3
        assert len(words) > 5, "it is not one word"


def test_arabic_needs_none() -> None:
    require_splitter("arb_Arab")


@pytest.mark.parametrize("step", ["fineweb2_heuristics", "minhash_dedup"])
def test_a_missing_library_is_told_before_any_work(
    step: str, context: StepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_language: str) -> Any:
        raise ImportError("Please install `jieba` to use zh word tokenizer (`pip install jieba`).")

    monkeypatch.setattr(word_tokenizers, "load_word_tokenizer", refuse)
    require_splitter.cache_clear()
    with pytest.raises(RecipeError, match=r"words of cmn_Hani.*pip install jieba.*make setup-languages"):
        make_steps(step, {}, context)
    require_splitter.cache_clear()


@pytest.fixture
def context(tmp_path: Any) -> StepContext:
    from smoldata.reading import Report

    return StepContext("mine", "cmn_Hani", Report(), tmp_path)


def test_the_languages_are_those_with_published_numbers() -> None:
    for language in TEXTS:
        assert fineweb2_numbers(language)
