"""Pinned packages -> rows in the hub's schemas: real conversations, tool calls and reasoned answers, offline.

Archives are read in place as data, never imported (``locks/posttrain-sample.lock``). What becomes what:

- chatterbot-corpus: dialogues -> everyday conversations (English), multilingual (seven languages)
- bfcl-eval: questions with function signatures and the right calls -> tool-call rows
- lm-eval: worked examples of MMLU (its dev split) and BIG-Bench Hard -> reasoning in a think block
- reasoning-gym: programming tasks with their solutions -> code without thinking
- pairs: the right answer against a wrong one made by rule: another choice, another function of those offered,
  the thoughts about another question. Which answer is right is known, so every pair is true.

A subset for which no package has such rows is absent. bfcl-eval and BIG-Bench Hard are evaluation sets: never
report their scores for a model that has seen this sample. Cost: 18 MB fetched, then about 3 s.
"""

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import xxhash
import yaml

from smoldata.errors import InputError
from smoldata.sample.archive import read_archive
from smoldata.sample.fetch import fetch, verify
from smoldata.sample.lock import Pin, read_lock
from smoltrain.post.sample_calls import call_rows, wrong_call
from smoltrain.post.schemas import Message, as_messages

Row = dict[str, Any]

_LOCK = "posttrain-sample.lock"
_LANGUAGES = ("chinese", "french", "german", "italian", "portuguese", "russian", "spanish")
_MATHEMATICS = re.compile(r"math|algebra|statistics|logic|physics|computer|engineering|machine_learning")
_SCIENCE = re.compile(r"physics|chemistry|biology|astronomy|anatomy|medicine|genetics|nutrition|virology")
_EXAMPLE = re.compile(
    r"^Q: (.+?)\nA: Let's think step by step\.\s*(.+?)(?=\n\nQ: |\Z)", re.MULTILINE | re.DOTALL
)
_VERDICT = re.compile(r"(?:So t|T)he answer is \(?(.+?)\)?\.?\s*\Z", re.DOTALL)
_CHOICE = re.compile(r"\(([A-Z])\) ")


def sample_lock() -> Path:
    """Return the shipped lock: under ``locks/`` in a checkout, or in the installed package."""
    here = Path(__file__).resolve()
    for place in (here.parents[3] / "locks" / _LOCK, here.with_name("files") / _LOCK):
        if place.is_file():
            return place
    raise InputError(f"no {_LOCK} under locks/; run from a checkout")


def sample_pins() -> tuple[Pin, ...]:
    """Return the pinned archives."""
    return read_lock(sample_lock())


def sample_rows(folder: Path) -> dict[str, dict[str, list[Row]]]:
    """Return rows by configuration of the hub dataset (``Mid``, ``SFT``, ``Preference``) and subset.

    Archives are fetched into ``folder`` first. Raises SourceError when one cannot be had, IntegrityError when
    it is damaged.
    """
    pins = {pin.package: pin for pin in sample_pins()}
    paths = dict(zip(pins, fetch(list(pins.values()), folder), strict=True))
    for package, path in paths.items():
        verify(pins[package], path)
    return rows_of(paths)


def rows_of(paths: dict[str, Path]) -> dict[str, dict[str, list[Row]]]:
    """Return the rows of archives by package, as :func:`sample_rows` does."""
    examples = list(_reasoned(paths["lm-eval"]))
    calls = list(
        call_rows(_files(paths["bfcl-eval"], r"bfcl_eval/data/(possible_answer/)?BFCL_v4_\w+\.json"))
    )
    fine_tuning: dict[str, list[Row]] = defaultdict(list)
    for language, row in _dialogues(paths["chatterbot-corpus"]):
        fine_tuning[_dialogue_subset(language)].append(row)
    for call in calls:
        name = "hermes_function_calling_v1_no_think" if call.is_parallel else "xlam_traces_no_think"
        fine_tuning[name].append(call.row)
    for example in examples:
        thinking = "OpenThoughts3_1.2M_think" if _MATHEMATICS.search(example.topic) else "s1k_1.1_think"
        fine_tuning[thinking].append(_sft([example.question, example.thoughts], thinks=True))
        if _SCIENCE.search(example.topic):
            direct = _sft([example.question, example.verdict], thinks=False)
            fine_tuning["Mixture_of_Thoughts_science_no_think"].append(direct)
    fine_tuning["OpenThoughts3_1.2M_no_think_no_think"] = list(_programs(paths["reasoning-gym"]))
    return {"Mid": _mid(examples), "SFT": dict(fine_tuning), "Preference": _pairs(examples, calls)}


def _files(archive: Path, pattern: str) -> dict[str, bytes]:
    wanted = re.compile(pattern)
    return dict(read_archive(archive, lambda name: wanted.fullmatch(name) is not None))


def _turns(contents: Iterable[str]) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return as_messages([Message(roles[number % 2], text) for number, text in enumerate(contents)])


def _sft(contents: Iterable[str], *, thinks: bool) -> Row:
    arguments = {
        "enable_thinking": thinks,
        "custom_instructions": None,
        "xml_tools": None,
        "python_tools": None,
    }
    return {"messages": _turns(contents), "chat_template_kwargs": arguments}


def _dialogue_subset(language: str) -> str:
    if language == "english":
        return "smoltalk_smollm3_everyday_conversations_no_think"
    return "smoltalk_multilingual_8languages_lang_5_no_think"


def _dialogues(archive: Path) -> Iterator[tuple[str, Row]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for name, data in sorted(_files(archive, r"chatterbot_corpus/data/\w+/\w+\.yml").items()):
        language = name.split("/")[2]
        if language not in (*_LANGUAGES, "english"):
            continue
        for dialogue in yaml.load(data, Loader=loader)["conversations"]:  # noqa: S506 - a safe loader
            turns = [str(turn).strip() for turn in dialogue]
            turns = turns[: len(turns) // 2 * 2]
            if turns and all(turns):
                yield language, _sft(turns, thinks=False)


class _Example:
    """A question with worked thoughts and a known answer."""

    def __init__(self, topic: str, question: str, thoughts: str) -> None:
        verdict = _VERDICT.search(thoughts)
        assert verdict is not None, "examples without a verdict are left out before"
        self.topic = topic
        self.question = question.strip()
        self.answer = verdict[1]
        self.verdict = f"The answer is {f'({self.answer})' if self.is_choice else self.answer}."
        self.reasoning = thoughts[: verdict.start()].strip()

    @property
    def is_choice(self) -> bool:
        """Tell whether the answer is a letter of the question's choices."""
        return len(self.answer) == 1 and self.answer in _CHOICE.findall(self.question)

    @property
    def thoughts(self) -> str:
        """The answer in thinking mode."""
        return f"<think>\n{self.reasoning}\n</think>\n{self.verdict}"

    def wrong_verdict(self) -> str:
        """Return the verdict for another choice, picked by a hash of the question."""
        others = sorted(set(_CHOICE.findall(self.question)) - {self.answer})
        return f"The answer is ({others[xxhash.xxh3_64_intdigest(self.question) % len(others)]})."


def _reasoned(archive: Path) -> Iterator[_Example]:
    tasks = r"lm_eval/tasks/"
    prompts = _files(archive, tasks + r"mmlu/flan_cot_fewshot/_cot_prompts\.json")
    for data in prompts.values():
        for topic, text in json.loads(data).items():
            yield from (
                _Example(topic, *found) for found in _EXAMPLE.findall(text) if _VERDICT.search(found[1])
            )
    for name, data in sorted(_files(archive, tasks + r"bbh/cot_fewshot/[a-z]\w+\.yaml").items()):
        samples = (yaml.safe_load(data).get("fewshot_config") or {}).get("samples") or []
        for sample in samples:
            if _VERDICT.search(sample["target"]):
                yield _Example(Path(name).stem, sample["input"], sample["target"])


def _programs(archive: Path) -> Iterator[Row]:
    for data in _files(archive, r"reasoning_gym/data/codeio\.jsonl\.gz").values():
        for line in gzip.decompress(data).splitlines():
            task = json.loads(line)
            question = f"{task['task_description'].strip()}\n\n{task['input_output_spec'].strip()}"
            yield _sft([question, f"```python\n{task['code_sample'].strip()}\n```"], thinks=False)


def _mid(examples: list[_Example]) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = defaultdict(list)
    for example in examples:
        is_mathematics = _MATHEMATICS.search(example.topic)
        name = "OpenThoughts3_1.2M" if is_mathematics else "Llama_Nemotron_Post_Training_Dataset_reasoning_r1"
        rows[name].append({"messages": _turns([example.question, example.thoughts])})
    return dict(rows)


def _pairs(examples: list[_Example], calls: list[Any]) -> dict[str, list[Row]]:
    thinking, direct = [], []
    for number, example in enumerate(examples):
        other = examples[(number + len(examples) // 2) % len(examples)]
        if other.thoughts != example.thoughts:
            thinking.append(_pair(example.question, example.thoughts, other.thoughts, thinks=True))
        if example.is_choice:
            direct.append(_pair(example.question, example.verdict, example.wrong_verdict(), thinks=False))
    for call in calls:
        wrong = wrong_call(call)
        if wrong is not None:
            right = call.row["messages"]
            row = {"prompt": right[0]["content"], "chosen": right, "rejected": [*right[:-1], wrong]}
            direct.append(row | {"chat_template_kwargs": call.row["chat_template_kwargs"]})
    return {
        "llama_3.1_tulu_3_8b_preference_mixture_no_think": direct,
        "tulu_3_8b_pref_mix_Qwen3_32B_Qwen3_0.6B_think": thinking,
    }


def _pair(question: str, chosen: str, rejected: str, *, thinks: bool) -> Row:
    row = _sft([question, chosen], thinks=thinks)
    sides = {"chosen": row["messages"], "rejected": _turns([question, rejected])}
    return {"prompt": question, **sides, "chat_template_kwargs": row["chat_template_kwargs"]}
