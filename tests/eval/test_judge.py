"""The judge over real HTTP: what it is asked, how its answer is read, what happens without one."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from smoldata.errors import InputError, SourceError
from smoleval.metrics.judge import Judge, cut, judge_from_environment, question, read_score


@dataclass
class Doc:
    """What the judge needs of lighteval's Doc."""

    choices: list[str]
    gold: int
    specific: dict[str, Any]

    def get_golds(self) -> list[str]:
        """Return the right answers."""
        return [self.choices[self.gold]]


@dataclass
class Response:
    """What the judge needs of lighteval's ModelResponse."""

    final_text: list[str]
    output_tokens: list[list[int]] = field(default_factory=list)


@contextmanager
def endpoint(status: int, body: bytes) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve one answer to everything; yield the address and what was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(json.loads(content) | {"path": self.path, "key": self.headers.get("Authorization")})
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def completion(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def test_the_judge_is_asked_and_read() -> None:
    with endpoint(200, completion("<feedback>Yes.</feedback>\n<score>\n1\n</score>")) as (url, asked):
        answer = Judge(url, "some/judge", "key").ask("Is it right?")
    assert read_score(answer) == 1.0
    (request,) = asked
    assert request["path"] == "/v1/chat/completions"
    assert request["key"] == "Bearer key"
    assert request["model"] == "some/judge"
    assert request["messages"] == [{"role": "user", "content": "Is it right?"}]


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b"no"), (200, b"not json"), (200, b"{}"), (200, b'{"choices": []}'), (200, b"[]"), (404, b"")],
)
def test_an_endpoint_that_does_not_answer_is_an_error_that_says_what_to_do(status: int, body: bytes) -> None:
    with (
        endpoint(status, body) as (url, _),
        pytest.raises(SourceError, match=r"some/judge at .* gave no answer .*run the same command again"),
    ):
        Judge(url, "some/judge").ask("?")


def test_no_endpoint_at_all() -> None:
    with endpoint(200, b"") as (url, _):
        pass
    with pytest.raises(SourceError, match="ConnectError"):
        Judge(url, "some/judge").ask("?")


def test_scores_are_read_as_published() -> None:
    assert read_score("<score> 1 </score>") == 1.0
    assert read_score("<score>0</score>") == 0.0
    for text in ("", "1", "<score>5</score>", "<score>yes</score>", "<score>10</score>"):
        assert read_score(text) == 0.0


def test_of_a_long_answer_the_judge_sees_the_end() -> None:
    text = "a" * 10000 + "the end"
    assert cut(Response([f" {text} "], [[1] * 2048])) == text
    assert cut(Response([text], [[1] * 2049])) == text[-8192:]
    assert cut(Response(["short"], [])) == "short"


def test_the_judge_sees_question_options_reference_and_answer() -> None:
    specific = {"kind": "multiple_choice", "question": "Which metal is liquid?"}
    asked = question(Doc(["iron", "mercury"], 1, specific), "Mercury {it} is.")
    assert "Which metal is liquid?\noptions:\nA. iron\nB. mercury\n</inputs>" in asked
    assert "The right answer is:\nmercury\n" in asked
    assert "<output>\nMercury {it} is.\n</output>" in asked
    free = question(Doc(["6", "six"], 0, specific | {"kind": "free_form"}), "6")
    assert "options" not in free


def test_without_a_judge_in_the_environment_the_task_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMOLEVAL_JUDGE_URL", raising=False)
    with pytest.raises(InputError, match="set SMOLEVAL_JUDGE_URL"):
        judge_from_environment()
    monkeypatch.setenv("SMOLEVAL_JUDGE_URL", "http://localhost:1/v1/")
    monkeypatch.setenv("SMOLEVAL_JUDGE_MODEL", "flowaicom/Flow-Judge-v0.1")
    assert judge_from_environment() == Judge("http://localhost:1/v1", "flowaicom/Flow-Judge-v0.1")
