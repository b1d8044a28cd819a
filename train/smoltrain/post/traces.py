"""Prompts and a teacher behind an OpenAI-compatible endpoint -> checked reasoning traces, pairs of teachers.

Each prompt is asked once: its reply lies in ``replies/<key>.json`` under a digest of prompt and teacher, so
a run that was stopped goes on, equal prompts are asked once, and the same replies give the same rows. At most
``per_minute`` requests start in a minute, ``at_once`` are open. A reply is kept when it ended by itself,
holds thoughts and an answer, and the answer is right where the prompt's is known; every drop has its reason.
A teacher that has no thinking mode is asked in two turns: to think, then to answer.
Pairs: the strong teacher's kept trace against the weak one's reply to the same prompt.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from smoldata.console import progress
from smoldata.errors import SmolError
from smoldata.files import digest_values, remove_leftovers, single_writer, write_json

_THOUGHTS = re.compile(r"\s*(?:<think>)?\s*(.*?)\s*</think>\s*(.*)", re.DOTALL)
"""Thoughts and answer; some teachers' templates have said ``<think>`` already."""
_ANSWER = re.compile(r"(?:\\boxed\{([^{}]*)\}|answer is:?\s*\(?([^\s().]+(?:\.\d+)?)\)?)", re.IGNORECASE)
_LEAST_THOUGHTS = 1
Style = Literal["native", "two_turns"]
THINK = "Think about this step by step. Do not state the final answer yet."
ANSWER = "Now state the final answer alone, in one short sentence that begins with: The answer is"
"""What a teacher without a thinking mode is asked, after the prompt and after its thoughts."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model behind an OpenAI-compatible endpoint, and how it is asked."""

    url: str
    """Such as ``http://localhost:8000/v1``."""
    model: str
    max_tokens: int = 8192
    temperature: float = 0.6
    top_p: float = 0.95
    seed: int = 0
    key: str = "none"
    """API key; no part of any record."""
    style: Style = "native"
    """``native``: it thinks by itself. ``two_turns``: it is asked for thoughts, and then for the answer."""

    def settings(self) -> dict[str, Any]:
        """Return what decides a reply: all but address and key."""
        return {name: value for name, value in asdict(self).items() if name not in {"url", "key"}}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question of a set without reasoning."""

    id: str
    text: str
    answer: str | None = None
    """The right answer, where it is known: what is checked."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a teacher said to a prompt."""

    prompt: Prompt
    thoughts: str
    content: str
    finish: str
    """Why it ended: ``stop``, ``length``, ..."""
    key: str

    def reason(self) -> str | None:
        """Return why the reply is dropped, or None if it is kept."""
        if self.finish != "stop":
            return f"ended-by-{self.finish}"
        if len(self.thoughts) < _LEAST_THOUGHTS:
            return "no-thoughts"
        if not self.content:
            return "no-answer"
        if self.prompt.answer is not None and not is_right(self.content, self.prompt.answer):
            return "wrong-answer"
        return None


def is_right(content: str, answer: str) -> bool:
    r"""Tell whether the last answer that a text states is the right one; case and brackets don't count.

    >>> is_right("So the answer is (C).", "C"), is_right(r"Thus \boxed{12}", "12"), is_right("12?", "12")
    (True, True, False)
    """
    stated = [boxed or said for boxed, said in _ANSWER.findall(content)]
    return bool(stated) and _plain(stated[-1]) == _plain(answer)


def _plain(answer: str) -> str:
    return answer.strip().strip("().").strip().casefold()


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast a teacher is asked."""

    per_minute: float = 600.0
    at_once: int = 8
    attempts: int = 5
    """Tries of one request; the client waits longer before each."""


def ask_all(
    prompts: Iterable[Prompt], teacher: Teacher, folder: Path, limits: Limits | None = None
) -> list[Reply]:
    """Ask what has no reply yet; return the replies to all different prompts, in order.

    Raises :class:`SmolError` when the endpoint fails for good; what it has said so far is kept.
    """
    asked: dict[str, Prompt] = {}
    for prompt in prompts:
        asked.setdefault(_key(prompt, teacher), prompt)
    with single_writer(folder):
        remove_leftovers(folder)
        missing = {key: prompt for key, prompt in asked.items() if not _path(folder, key).is_file()}
        if missing:
            asyncio.run(_ask_missing(missing, teacher, folder, limits or Limits()))
    return [_read(folder, key, prompt) for key, prompt in asked.items()]


def _key(prompt: Prompt, teacher: Teacher) -> str:
    return digest_values(prompt.text, teacher.settings())


def _path(folder: Path, key: str) -> Path:
    return folder / "replies" / f"{key}.json"


def _read(folder: Path, key: str, prompt: Prompt) -> Reply:
    value = json.loads(_path(folder, key).read_bytes())
    return Reply(prompt, value["thoughts"], value["content"], value["finish"], key)


async def _ask_missing(missing: dict[str, Prompt], teacher: Teacher, folder: Path, limits: Limits) -> None:
    import openai

    client = openai.AsyncOpenAI(base_url=teacher.url, api_key=teacher.key, max_retries=limits.attempts - 1)
    with progress(f"asking {teacher.model}"[:40], len(missing)) as advance:

        async def one(key: str, prompt: Prompt) -> None:
            write_json(_path(folder, key), await _ask(client, prompt, teacher))
            advance(1, "")

        try:
            async with client:
                await paced([_later(one, key, prompt) for key, prompt in missing.items()], limits)
        except* openai.OpenAIError as group:
            error = group.exceptions[0]
            raise SmolError(
                f"{teacher.url} failed ({type(error).__name__}: {' '.join(str(error).split())[:200]}); "
                "replies so far are kept, run the same command to go on"
            ) from error


def _later(
    call: Callable[[str, Prompt], Awaitable[None]], key: str, prompt: Prompt
) -> Callable[[], Awaitable[None]]:
    return lambda: call(key, prompt)


async def paced(calls: Sequence[Callable[[], Awaitable[None]]], limits: Limits) -> None:
    """Start the calls evenly, at most ``per_minute``, with at most ``at_once`` open."""
    gate = asyncio.Semaphore(limits.at_once)
    pause = 60 / limits.per_minute
    loop = asyncio.get_running_loop()

    async def guarded(call: Callable[[], Awaitable[None]]) -> None:
        try:
            await call()
        finally:
            gate.release()

    async with asyncio.TaskGroup() as group:
        start = loop.time()
        for call in calls:
            await gate.acquire()
            wait = start - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            start = max(start, loop.time()) + pause
            group.create_task(guarded(call))


async def _ask(client: Any, prompt: Prompt, teacher: Teacher) -> dict[str, Any]:
    ask = _native if teacher.style == "native" else _two_turns
    thoughts, content, finish = await ask(client, prompt, teacher)
    return {
        "format_version": 1,
        "prompt": prompt.text,
        "teacher": teacher.settings(),
        "thoughts": thoughts.strip(),
        "content": content.strip(),
        "finish": finish,
    }


async def _native(client: Any, prompt: Prompt, teacher: Teacher) -> tuple[str, str, str]:
    """Return (thoughts, answer, why it ended) of a teacher that thinks by itself."""
    turns = [{"role": "user", "content": prompt.text}]
    more = {"chat_template_kwargs": {"enable_thinking": True}}
    message, finish = await _said(client, turns, teacher, extra_body=more)
    thoughts = getattr(message, "reasoning_content", None) or ""
    content = message.content or ""
    if not thoughts and (found := _THOUGHTS.fullmatch(content)):
        thoughts, content = found[1], found[2]
    return thoughts, content, finish


async def _two_turns(client: Any, prompt: Prompt, teacher: Teacher) -> tuple[str, str, str]:
    """Return the same of a teacher that is asked to think, and then to answer."""
    turns = [{"role": "user", "content": f"{prompt.text}\n\n{THINK}"}]
    thoughts, finish = await _said(client, turns, teacher)
    if finish != "stop" or not thoughts.content:
        return thoughts.content or "", "", finish
    turns += [{"role": "assistant", "content": thoughts.content}, {"role": "user", "content": ANSWER}]
    answer, finish = await _said(client, turns, teacher)
    return thoughts.content, answer.content or "", finish


async def _said(client: Any, turns: list[dict[str, str]], teacher: Teacher, **more: Any) -> tuple[Any, str]:
    """Return a message of the teacher, and why it ended."""
    answer = await client.chat.completions.create(
        model=teacher.model,
        messages=turns,
        max_tokens=teacher.max_tokens,
        temperature=teacher.temperature,
        top_p=teacher.top_p,
        seed=teacher.seed,
        **more,
    )
    return answer.choices[0].message, str(answer.choices[0].finish_reason)


def kept_rows(replies: Iterable[Reply], teacher: Teacher) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return SFT rows of the kept replies, each with its provenance, and the drops by reason."""
    rows, dropped = [], dict[str, int]()
    for reply in replies:
        reason = reply.reason()
        if reason is not None:
            dropped[reason] = dropped.get(reason, 0) + 1
            continue
        rows.append(_row(reply) | {"source": _source(reply, teacher)})
    return rows, dropped


def pair_rows(
    strong: Iterable[Reply], weak: Iterable[Reply], teachers: tuple[Teacher, Teacher]
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return preference rows: the strong teacher's kept traces against the weak one's whole replies."""
    by_text = {reply.prompt.text: reply for reply in weak}
    rows, dropped = [], dict[str, int]()
    for reply in strong:
        other = by_text.get(reply.prompt.text)
        reason = reply.reason() or _no_pair(reply, other)
        if reason is not None or other is None:
            dropped[str(reason)] = dropped.get(str(reason), 0) + 1
            continue
        row = _row(reply)
        sides = {"chosen": row.pop("messages"), "rejected": _row(other)["messages"]}
        source = f"{_source(reply, teachers[0])} over {teachers[1].model}"
        rows.append({"prompt": reply.prompt.text, **sides, **row, "source": source})
    return rows, dropped


def _no_pair(reply: Reply, other: Reply | None) -> str | None:
    if other is None:
        return "no-weak-reply"
    if other.finish != "stop" or not other.content:
        return "weak-reply-cut"
    return "same-answers" if (reply.thoughts, reply.content) == (other.thoughts, other.content) else None


def _row(reply: Reply) -> dict[str, Any]:
    text = f"<think>\n{reply.thoughts}\n</think>\n{reply.content}"
    arguments = {
        "custom_instructions": None,
        "enable_thinking": True,
        "python_tools": None,
        "xml_tools": None,
    }
    turns = [{"role": "user", "content": reply.prompt.text}, {"role": "assistant", "content": text}]
    return {"messages": turns, "chat_template_kwargs": arguments}


def _source(reply: Reply, teacher: Teacher) -> str:
    checked = "checked" if reply.prompt.answer is not None else "unchecked"
    return f"{reply.prompt.id} by {teacher.model}, {checked}, {reply.key}"
