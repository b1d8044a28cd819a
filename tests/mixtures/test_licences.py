"""Licences into findings with numbers; a forbidden class is an error."""

from smolmix.licences import Licensed, findings

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
