"""Licences: expressions into classes, classes into findings with numbers; a forbidden one is an error."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smoldata.registry import load_registry
from smolmix.licences import CLASSES, Licensed, classify, findings

ONE = {
    "mit": "attribution", "Apache-2.0": "attribution", "odc-by": "attribution", "cc-by-4.0": "attribution",
    "CC0-1.0": "public-domain", "LicenseRef-Public-Domain": "public-domain", "GPL-2.0-only": "copyleft",
    "LGPL-3.0-or-later": "copyleft", "AGPL-3.0": "copyleft", "MPL-2.0": "copyleft",
    "cc-by-sa-3.0": "share-alike",
    "odbl": "share-alike",
    "cc-by-nc-4.0": "non-commercial", "cc-by-nd-4.0": "no-derivatives", "other": "unknown",
    "NOASSERTION": "unknown", "see the page": "unknown", "": "unknown",
}  # fmt: skip


@pytest.mark.parametrize(("licence", "which"), ONE.items())
def test_single_licences(licence: str, which: str) -> None:
    assert classify(licence) == {which}
    assert classify(licence.upper()) == {which}


@pytest.mark.parametrize(
    ("licence", "classes"),
    [
        (None, {"unknown"}),
        ("cc-by-nc-sa-4.0", {"non-commercial", "share-alike"}),
        ("cc-by-nc-nd-4.0", {"non-commercial", "no-derivatives"}),
        ("MIT OR GPL-2.0-only", {"attribution"}),
        ("MIT/Apache-2.0", {"attribution"}),
        ("MIT AND GPL-2.0-only", {"attribution", "copyleft"}),
        ("(MIT OR GPL-2.0-only) AND CC-BY-SA-4.0", {"attribution", "share-alike"}),
        ("GPL-3.0-or-later WITH GCC-exception-3.1", {"copyleft"}),
        ("mit, something-else", {"attribution", "unknown"}),
    ],
)
def test_expressions(licence: str | None, classes: set[str]) -> None:
    assert classify(licence) == classes


@given(st.sampled_from(list(ONE)[:-4]), st.sampled_from(list(ONE)[:-4]))
def test_and_takes_both_and_or_one(a: str, b: str) -> None:
    assert classify(f"{a} AND {b}") == classify(a) | classify(b)
    assert classify(f"({a}) OR ({b})") == classify(f"{b} OR {a}")
    assert classify(f"{a} OR {b}") in (classify(a), classify(b))


@given(st.text() | st.text(alphabet="\0()0 orand,/mit"))
@example("\0")
@example("\x0099 (mit)")
def test_any_text_has_a_class(text: str) -> None:
    assert classify(text)
    assert classify(text) <= set(CLASSES)


ROWS = [
    Licensed("wiki", "cc-by-sa-3.0", 25),
    Licensed("web", None, 50),
    Licensed("web2", "other", 5),
    Licensed("nc", "cc-by-nc-4.0", 15),
    Licensed("code", "MIT", 5),
    Licensed("not-read", "GPL-3.0-only", 0),
]


def test_findings_count_and_say_what_to_do() -> None:
    found = {one.code: one for one in findings(ROWS, "windows")}
    assert set(found) == {"licence-unknown", "licence-share-alike", "licence-non-commercial", "licence-clash"}
    unknown = found["licence-unknown"]
    assert "55 of 100 windows (55 %) from 2 sources" in unknown.message
    assert "web (50), web2 (5)" in unknown.message
    assert found["licence-non-commercial"].source == "nc"
    assert "25 windows" in found["licence-clash"].message
    assert "15 forbid commercial use" in found["licence-clash"].message
    assert not any(one.severity == "error" for one in found.values())
    assert all(one.fix for one in found.values())


def test_a_forbidden_class_is_an_error_a_source() -> None:
    found = [one for one in findings(ROWS, "windows", ["unknown", "copyleft"]) if one.severity == "error"]
    assert [(one.code, one.source) for one in found] == [
        ("licence-forbidden", "web"),
        ("licence-forbidden", "web2"),
    ]
    assert "web: 50 windows are unknown (none stated)" in found[0].message


def test_free_licences_are_silent() -> None:
    assert findings([Licensed("a", "mit", 1), Licensed("b", "cc0-1.0", 2)], "documents") == []
    # No clash within one licence that says both.
    assert "licence-clash" not in {f.code for f in findings([Licensed("a", "cc-by-nc-sa-4.0", 1)], "windows")}


def test_every_stated_licence_of_the_registry_is_recognised() -> None:
    stated = {one.licence for one in load_registry().sources.values() if one.licence}
    assert [licence for licence in stated if "unknown" in classify(licence)] == []
