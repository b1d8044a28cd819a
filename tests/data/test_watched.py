"""Watched steps: whatever a step does, what went in is kept or a counted drop with a reason."""

from collections.abc import Iterator
from typing import Any

import pytest
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from hypothesis import given
from hypothesis import strategies as st

from smoldata.reading import Report
from smoldata.steps import FILTER_REASON
from smoldata.watched import CountedStep


class Some(PipelineStep):  # type: ignore[misc] # datatrove ships no types
    """Reads ahead ``ahead`` documents and keeps those whose text is in ``kept``."""

    name, type = "some", "test"

    def __init__(self, kept: set[str], ahead: int, reason: str | None = None) -> None:
        super().__init__()
        self.kept, self.ahead, self.reason = kept, ahead, reason

    def run(self, data: Any, _rank: int = 0, _world_size: int = 1) -> Iterator[Document]:  # noqa: D102 - above
        pending: list[Document] = []
        for document in data:
            pending.append(document)
            if len(pending) == self.ahead:
                yield from self._decided(pending)
                pending = []
        yield from self._decided(pending)

    def _decided(self, pending: list[Document]) -> Iterator[Document]:
        for document in pending:
            if document.text in self.kept:
                yield document
            elif self.reason:
                document.metadata[FILTER_REASON] = self.reason


@given(
    texts=st.lists(st.sampled_from("abcdef"), max_size=30),
    kept=st.sets(st.sampled_from("abcdef")),
    ahead=st.integers(1, 7),
    reason=st.sampled_from([None, "why"]),
)
def test_in_is_out_plus_dropped(texts: list[str], kept: set[str], ahead: int, reason: str | None) -> None:
    report = Report()
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    step = CountedStep("some_step", Some(kept, ahead, reason), report)
    out = [document.text for document in step.run(iter(documents))]
    assert out == [text for text in texts if text in kept]
    dropped = len(texts) - len(out)
    assert report.dropped == ({reason or "some_step": dropped} if dropped else {})
    assert report.read == dropped


def test_who_hooks_in_sees_each_drop() -> None:
    seen: list[tuple[str, str]] = []
    report = Report(on_drop=lambda reason, document: seen.append((reason, document.text)))
    step = CountedStep("x", Some({"b"}, 2), report)
    list(step.run(iter([Document(text=text, id=text) for text in "abc"])))
    assert seen == [("x", "a"), ("x", "c")]


def test_a_step_that_invents_documents_is_found() -> None:
    class Inventing(Some):
        def run(self, data: Any, _rank: int = 0, _world_size: int = 1) -> Iterator[Document]:
            list(data)
            yield Document(text="new", id="new")

    with pytest.raises(AssertionError, match="not given"):
        list(CountedStep("x", Inventing(set(), 1), Report()).run(iter([Document(text="a", id="a")])))
