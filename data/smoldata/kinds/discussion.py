"""GitHub issues and pull requests -> text; people are ``username_0``, ``username_1``, … in order.

The steps are BigCode's for issues (bigcode-project/bigcode-dataset, ``preprocessing/filtering_issues.py`` and
``utils/utils_issues.py``): what mail programs add is cut, comments of bots are left out, comments of more
than 80 lines keep the first 60 and the last 20, short issues and monologues are dropped. Pull requests follow
the StarCoder2 paper (arXiv:2402.19173, section 2.3: what is dropped and cut; section 5.2: what stands where),
with words for its tags, and without its draws (which repositories, how much of a file).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smoldata.kinds import Unrenderable

LEAST_CHARACTERS, MOST_CHARACTERS, MOST_EVENTS = 200, 7000, 10
"""One author alone needs this many characters, no more than these, and no more events (BigCode's numbers)."""
_MOST_LINES, _LAST_LINES = 80, 20
_MOST_PATCH_LINES = 200
_LEAST_TITLE, _MOST_TITLE, _LEAST_DESCRIPTION, _MOST_DESCRIPTION = 10, 500, 20, 1000
_LEAST_COMMENT, _MOST_HUNK, _MOST_PULL_REQUEST = 20, 10_000, 100_000
_TITLES_OF_TOOLS = ("depend", "release")
"""``dependencies``, ``dependency`` and ``depend`` of the paper are one."""
_BOT_WORDS = ("[bot]", "botmanager", "bors-", "jenkins", "k8s-", "-test-", "travis")
_BOT_ENDS = (
    *("-automaton", "-automation", "-benchmark", "-build", "-deployer", "-cloud", "bot", "-ci", "-linter"),
    *("-teamcity", "-test", "-testing", "-service-account"),
)
_BOTS = frozenset(
    [
        *("Apache-HBase", "AutorestCI", "CLAassistant", "cmsbuild", "codecov-io", "codecov-commenter"),
        *("coveralls", "danger-public", "dnfclas", "msftclas", "PyDocTeur", "SparkQA", "karma-pr-reporter"),
        *("claassistantio", "probot-stale"),
    ]
)
_MAIL_LINE = re.compile(r"notifications@github\.com|\d+/\d+/\d+ \d{2}:\d{2} [AP]M.+wrote")
_MAIL_END = "Reply to this email directly"
_RULE = re.compile(r"_{20,}")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that somebody wrote."""

    author: str
    text: str


def issue(row: Mapping[str, Any]) -> str:
    """Return an issue: title, what each wrote, and whether it was closed.

    Takes ``events`` (``author``, ``text`` or ``comment`` and ``description``; ``action``), as in
    bigcode/the-stack-github-issues, or GitHub's own ``title``, ``body``, ``user``, ``comments``, ``state``.
    Raises :class:`Unrenderable`: ``no_events``, ``bot``, ``empty_text``, ``too_short``, ``one_author``.
    """
    listed = row.get("events")
    raw = _stack_events(listed) if listed is not None else _github_events(row, row.get("comments") or ())
    events = readable(raw)
    if not events:
        raise Unrenderable(_why_empty(raw))
    _refuse_monologue(events)
    title = _title(row) or (str(listed[0].get("title") or "") if listed else "")
    closed = row.get("state") == "closed" or any(
        isinstance(event, Mapping) and event.get("action") == "closed" for event in listed or ()
    )
    lines = [f"Title: {title.strip()}"] if title.strip() else []
    lines += [f"{name}: {text}" for name, text in masked(events)]
    return "\n".join([*lines, *(["Status: Issue closed"] if closed else [])]) + "\n"


def pull_request(row: Mapping[str, Any]) -> str:
    """Return a pull request: title, description, changed files, reviews and comments, how it ended.

    Takes GitHub's answers: ``pull_request``, and where known ``files`` (``filename``, ``patch``),
    ``comments``, ``reviews`` (``state``), ``review_comments`` (``path``, ``diff_hunk``). Raises
    :class:`Unrenderable`: ``no_title``, ``bot``, ``short_title``, ``title_of_a_tool``, ``short_description``,
    ``description_of_a_tool``, ``not_merged``, ``too_long``.
    """
    pull = row["pull_request"]
    if not isinstance(pull, Mapping) or not _title(pull):
        raise Unrenderable("no_title")
    reviews = [entry for name in ("reviews", "review_comments") for entry in row.get(name) or ()]
    why = _why_no_pull_request(pull, reviews)
    if why:
        raise Unrenderable(why)
    comments = [_review(entry) for entry in row.get("comments") or ()]
    said = [*map(_review, reviews), *(event for event in comments if len(event.text) >= _LEAST_COMMENT)]
    described = readable([Event(_author(pull), str(pull["body"]))])
    if not described:
        raise Unrenderable("short_description")
    first = Event(described[0].author, _cut(described[0].text, _MOST_DESCRIPTION))
    names = masked([first, *readable(said)])
    base = pull.get("base")
    lines = [f"Title: {_cut(_title(pull), _MOST_TITLE)}"]
    if isinstance(base, Mapping) and base.get("ref"):
        lines.append(f"Base: {base['ref']}")
    lines.append(f"{names[0][0]}: {names[0][1]}")
    lines += [f"\n{part}" for part in _changes(row.get("files") or ())]
    lines += [f"\n{name}: {text}" for name, text in names[1:]]
    lines.append(
        "\nStatus: " + ("merged" if pull.get("merged") or pull.get("merged_at") else str(pull.get("state")))
    )
    text = "\n".join(lines) + "\n"
    if len(text) > _MOST_PULL_REQUEST:
        raise Unrenderable("too_long")
    return text


def _why_no_pull_request(pull: Mapping[str, Any], reviews: Sequence[Any]) -> str:
    """Return why a pull request is left out, by the paper's rules; an empty string: it is not."""
    title, description = _title(pull).lower(), str(pull.get("body") or "").strip()
    if is_bot(_author(pull)):
        return "bot"
    if len(title) < _LEAST_TITLE:
        return "short_title"
    if any(word in title for word in _TITLES_OF_TOOLS):
        return "title_of_a_tool"
    if len(description) < _LEAST_DESCRIPTION:
        return "short_description"
    if "Qwiet" in description:
        return "description_of_a_tool"
    approved = any(
        isinstance(entry, Mapping) and str(entry.get("state") or "").upper() == "APPROVED"
        for entry in reviews
    )
    return "" if pull.get("merged") or pull.get("merged_at") or approved else "not_merged"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most].rstrip() + "…"


def is_bot(author: str) -> bool:
    """Tell whether an account is a program's, by its name."""
    name = author.lower()
    return author in _BOTS or name.endswith(_BOT_ENDS) or any(word in name for word in _BOT_WORDS)


def readable(events: Sequence[Event]) -> list[Event]:
    """Return what people wrote: bots left out, mail's additions cut, long comments shortened."""
    kept = [
        Event(event.author, _shortened(without_mail(event.text)))
        for event in events
        if not is_bot(event.author)
    ]
    return [event for event in kept if event.text]


def without_mail(text: str) -> str:
    """Cut what a mail program adds to an answer: the quoted message, its header and footer."""
    lines = text.replace("\r\n", "\n").strip().split("\n")
    start, end = len(lines), -1
    for number, line in enumerate(lines):
        if _MAIL_LINE.search(line):
            start = min(start, number)
        if _MAIL_END in line:
            end = number
    if end >= 0:
        # The quoted lines stand between the header and the footer, in either order.
        first = min(start, end)
        lines = [
            line for number, line in enumerate(lines) if not (first <= number <= end or line.startswith(">"))
        ]
    return _RULE.sub("", "\n".join(lines)).strip()


def _shortened(text: str) -> str:
    lines = text.split("\n")
    if len(lines) <= _MOST_LINES:
        return text
    head, tail = lines[: _MOST_LINES - _LAST_LINES], lines[-_LAST_LINES:]
    return "\n".join([*head, "[Truncated]", *tail])


def masked(events: Sequence[Event]) -> list[tuple[str, str]]:
    """Return (name, text) with every author's name replaced, in the texts too."""
    names: dict[str, str] = {}
    for event in events:
        names.setdefault(event.author, f"username_{len(names)}")
    known = sorted((name for name in names if name), key=len, reverse=True)
    pattern = re.compile(r"(?<![\w-])(" + "|".join(map(re.escape, known)) + r")(?![\w-])") if known else None
    result = []
    for event in events:
        text = pattern.sub(lambda match: names[match[1]], event.text) if pattern else event.text
        result.append((names[event.author], text))
    return result


def _why_empty(events: Sequence[Event]) -> str:
    if not events:
        return "no_events"
    return "bot" if all(is_bot(event.author) for event in events) else "empty_text"


def _refuse_monologue(events: Sequence[Event]) -> None:
    size = sum(len(event.text) for event in events)
    if size < LEAST_CHARACTERS:
        raise Unrenderable("too_short")
    alone = len({event.author for event in events}) == 1
    if alone and (size > MOST_CHARACTERS or len(events) > MOST_EVENTS):
        raise Unrenderable("one_author")


def _stack_events(events: Any) -> list[Event]:
    found = []
    for event in events:
        if not isinstance(event, Mapping):
            raise Unrenderable("bad_event")
        text = event.get("text") or event.get("comment") or event.get("description") or ""
        found.append(Event(str(event.get("author") or ""), str(text)))
    return found


def _github_events(row: Mapping[str, Any], comments: Any) -> list[Event]:
    if comments and not isinstance(comments, list | tuple):
        comments = ()  # GitHub's issue object has the number of comments under this name
    entries = [row, *(comment for comment in comments if isinstance(comment, Mapping))]
    return [Event(_author(entry), str(entry.get("body") or "")) for entry in entries]


def _review(entry: Any) -> Event:
    if not isinstance(entry, Mapping):
        raise Unrenderable("bad_event")
    body = str(entry.get("body") or "").strip()
    hunk = str(entry.get("diff_hunk") or "").rstrip()
    shown = f"{hunk}\n" if len(hunk) <= _MOST_HUNK else ""
    where = f"on {entry['path']}:\n{shown}" if hunk and entry.get("path") else ""
    return Event(_author(entry), f"{where}{body}" if body else "")


def _changes(files: Any) -> Iterator[str]:
    for file in files:
        if not isinstance(file, Mapping) or not file.get("filename"):
            raise Unrenderable("bad_file")
        patch = str(file.get("patch") or "").split("\n")
        shown = patch[:_MOST_PATCH_LINES] + (["[Truncated]"] if len(patch) > _MOST_PATCH_LINES else [])
        yield "\n".join([str(file["filename"]), *(line for line in shown if line)])


def _author(entry: Mapping[str, Any]) -> str:
    user = entry.get("user") or entry.get("author")
    return str(user.get("login") or "") if isinstance(user, Mapping) else str(user or "")


def _title(entry: Mapping[str, Any]) -> str:
    return str(entry.get("title") or "").strip()
