"""One row of each hub dataset in its published columns, with text of our own: what a file of it looks like.

``checked`` says how the columns are known. Types follow the cards (structs and lists as JSON).
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from tests.data.helpers import real_texts

from smoldata.registry import Source

PROSE = (
    "The old library of the town was built by a group of people who wanted to give all of the children "
    "a place to read. It has two floors and a garden, and it is open on every day of the week. In the "
    "first room there are maps of the coast, and in the second one you can find letters that sailors "
    "wrote to their families. Many of them were never sent. The women who work there have read most of "
    "the letters and they like to tell visitors what they found in them. One tells of a storm that "
    "lasted nine days, another of a garden with fruit that nobody at home had seen before. Visitors are "
    "asked to be quiet, but they may take photographs if they do not use a flash."
)
TEXTS = {
    "fra": "La vieille bibliothèque de la ville est ouverte et les enfants y lisent des lettres. " * 3,
    "cmn": "这座城市的图书馆每天开放。孩子们在那里读书。也可以看到水手写给家人的信。" * 8,
    "Latn": "La biblioteca della città è aperta ogni giorno e i bambini vi leggono le lettere dei marinai. "
    * 3,
    "Cyrl": "Городская библиотека открыта каждый день, и дети читают там письма моряков. " * 4,
    "Arab": "مكتبة المدينة مفتوحة كل يوم والأطفال يقرؤون فيها رسائل البحارة إلى عائلاتهم. " * 4,
    "Jpan": "町の図書館は毎日開いていて、子どもたちはそこで船乗りの手紙を読みます。" * 6,
    "Hang": "도시의 도서관은 매일 열려 있고 아이들은 그곳에서 선원들의 편지를 읽습니다. " * 5,
    "Deva": "शहर का पुस्तकालय हर दिन खुला रहता है और बच्चे वहाँ नाविकों के पत्र पढ़ते हैं। " * 4,
    "Thai": "ห้องสมุดของเมืองเปิดทุกวัน และเด็กๆ อ่านจดหมายของกะลาสีที่นั่น " * 4,
    "Grek": "στην πόλη η βιβλιοθήκη είναι ανοιχτή κάθε μέρα και τα παιδιά διαβάζουν γράμματα ναυτικών. " * 3,
}


def text_in(language: str | None) -> str:
    """Return text in a language that the recipes know, else English."""
    code, _, script = (language or "").partition("_")
    return TEXTS.get(code) or TEXTS.get(script) or PROSE if code != "eng" else PROSE


@dataclass(frozen=True)
class Published:
    """A dataset's columns."""

    checked: str
    row: dict[str, Any]
    source: dict[str, Any] = field(default_factory=dict)
    """Columns that depend on the source: made by :func:`row_of`."""


WEB = {
    "id": "<urn:uuid:1>",
    "url": "https://example.org/a",
    "file_path": "s3://commoncrawl/x",
    "language": "en",
}
WARC_METADATA = {"WARC-Type": "response", "WARC-Record-ID": "<urn:uuid:1>", "Content-Length": "100"}
DOLMINO = {
    "id": "1",
    "added": "2024-01-01",
    "created": "2020-01-01",
    "source": "s2",
    "version": "v0",
    "metadata": {"a": 1},
}
STACK = {
    "directory_id": "d",
    "content_id": "c",
    "snapshot_id": "s",
    "revision_id": "r",
    "branch_name": "main",
    "detected_licenses": ["MIT"],
    "license_type": "permissive",
    "repo_name": "a/b",
    "path": "/a.py",
    "github_id": 1,
    "star_events_count": 0,
    "fork_events_count": 0,
    "gha_license_id": None,
    "gha_language": None,
    "src_encoding": "UTF-8",
    "language": "Python",
    "is_vendor": False,
    "is_generated": False,
    "length_bytes": 100,
    "extension": "py",
}
EDU = {name: STACK[name] for name in ("language", "repo_name", "path", "src_encoding", "length_bytes")}
FINEMATH = {
    "url": "https://example.org/m",
    "fetch_time": 1,
    "content_mime_type": "text/html",
    "warc_filename": "w",
    "warc_record_offset": 1,
    "warc_record_length": 2,
    "token_count": 3,
    "char_count": 4,
    "metadata": "{}",
    "score": 4.2,
    "int_score": 4,
    "crawl": "c",
    "snapshot_type": "latest",
    "language": "en",
    "language_score": 0.9,
}
SOLVED = {"problem": "What is 1+1?", "generated_solution": "<think>Add them.</think> It is 2."}

DATASETS: dict[str, Published] = {
    "HuggingFaceFW/fineweb-edu": Published(
        "card of a derived set, airtrain-ai/fineweb-edu-fortified",
        WEB
        | {
            "text": PROSE,
            "dump": "CC-MAIN-2024-10",
            "language_score": 0.98,
            "token_count": 120,
            "score": 3.4,
            "int_score": 3,
        },
    ),
    "mlfoundations/dclm-baseline-1.0": Published(
        "card",
        {
            "bff_contained_ngram_count_before_dedupe": 1,
            "language_id_whole_page_fasttext": {"en": 0.97},
            "metadata": WARC_METADATA,
            "previous_word_count": 120,
            "text": PROSE,
            "url": "https://example.org/a",
            "warcinfo": "robots: classic",
            "fasttext_openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train_prob": 0.4,
        },
    ),
    "allenai/dolmino-mix-1124": Published("Dolma's document format", DOLMINO | {"text": PROSE}),
    "epfml/FineWeb2-HQ": Published(
        "memory (files: listing)",
        WEB
        | {
            "dump": "CC-MAIN-2024-10",
            "date": "2024-03-01",
            "language_score": 0.99,
            "quality_score": 0.4,
            "embeddings": [[0.1]],
        },
    ),
    "HuggingFaceFW/fineweb-2": Published(
        "card of a derived set, malhajar/fineweb-2_fr_2019-2024",
        WEB
        | {
            "dump": "CC-MAIN-2024-10",
            "date": "2024-03-01",
            "language_score": 0.99,
            "language_script": "Hang",
            "minhash_cluster_size": 1,
            "top_langs": "{}",
        },
    ),
    "HuggingFaceTB/finemath": Published("card", FINEMATH | {"text": PROSE + " So $x^2$."}),
    "bigcode/the-stack-v2": Published("card of a derived set, ningani/stack-v2-cpp-2019", STACK),
    "HuggingFaceTB/stack-edu": Published(
        "card",
        EDU | {"score": 3.6, "int_score": 4, "detected_licenses": ["MIT"], "license_type": "permissive"},
    ),
    "bigcode/starcoder2data-extras": Published(
        "listing; content and repo_name: public code (marin-community/marin); others: memory",
        {"content": PROSE, "file_id": "1", "issue_id": "1", "repo_name": "a/b"},
    ),
    "LLM360/MegaMath": Published(
        "card of a derived set, ChavyvAkvar/MegaMath-1M-Sample-62 (web subset); text of others: code",
        {
            "text": PROSE,
            "id": "1",
            "cc-path": "p",
            "domain": "d",
            "finemath_score": 4.0,
            "lang": "en",
            "lang_score": 0.9,
            "timestamp": "t",
            "url": "u",
            "math_score": 0.9,
        },
    ),
    "HuggingFaceTB/smollm-corpus": Published(
        "listing; public code that names them all",
        {
            "prompt": "p",
            "text": PROSE,
            "token_length": 120,
            "audience": "general",
            "format": "textbook",
            "seed_data": "web",
        },
    ),
    "nvidia/OpenMathInstruct-2": Published(
        "card of a derived set, JINIAC-competition/OpenMathInstruct-2-augmented-math",
        SOLVED | {"expected_answer": "2", "problem_source": "math"},
    ),
    "nvidia/OpenMathReasoning": Published(
        "card",
        SOLVED
        | {
            "expected_answer": "2",
            "problem_type": "has_answer_extracted",
            "problem_source": "aops",
            "generation_model": "m",
        }
        | {"pass_rate_72b_tir": "1.0", "inference_mode": "cot", "used_in_kaggle": True},
    ),
    "nvidia/OpenCodeReasoning": Published(
        "card (copy), split_0",
        {
            "id": "1",
            "input": "Write a sum.",
            "output": "<think>Add.</think> def f(): ...",
            "solution": "def f(): ...",
            "source": "s",
            "license": "mit",
            "dataset": "d",
            "split": "train",
            "difficulty": "EASY",
        },
    ),
    "facebook/natural_reasoning": Published(
        "public code that reads question, reference_answer and responses[].response",
        {
            "question": "Why is the sky blue?",
            "reference_answer": "Scattering of light.",
            "responses": [{"response_model": "m", "response": "Short waves are scattered most."}],
        },
    ),
    "HuggingFaceTB/smoltalk2": Published(
        "card, dataset_info of Mid",
        {
            "messages": [
                {"role": "user", "content": "1+1 is what?"},
                {"role": "assistant", "content": "<think>Add.</think> 2"},
            ],
            "source": "OpenThoughts3",
        },
    ),
}


def code() -> str:
    """Return a real source file."""
    return real_texts(1)[0]


def row_of(source: Source) -> dict[str, Any]:
    """Return a row of the source's dataset."""
    assert source.hub is not None
    row = dict(DATASETS[source.hub.dataset].row)
    if source.hub.contents == "software_heritage":
        row["blob_id"] = hashlib.sha1(code().encode(), usedforsecurity=False).hexdigest()
    elif source.kind == "multilingual":
        row["text"] = text_in(source.language)
    elif source.kind == "notebook":
        row["content"] = code()
    return row
