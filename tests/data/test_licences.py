"""Licences into SPDX and classes; gates that drop documents or refuse sources; findings on revisions."""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.data.helpers import own_source, real_texts, write_registry
from typer.testing import CliRunner

from smoldata.build import build_documents, built_documents
from smoldata.cli import app, main
from smoldata.errors import InputError, SourceError
from smoldata.files import write_json
from smoldata.licences import CLASSES, classes_of, gated, read_classes, read_licence
from smoldata.registry import Registry, load_registry
from smoldata.registry_lint import ORIGIN, Newest, hub_newest, lint_sources, revision_of

KNOWN = {
    "MIT": "attribution",
    "apache-2.0": "attribution",
    "odc-by": "attribution",
    "CC-BY-4.0": "attribution",
    "CC0-1.0": "public-domain",
    "LicenseRef-Public-Domain": "public-domain",
    "CC-BY-SA-4.0": "share-alike",
    "CC-BY-NC-4.0": "non-commercial",
    "CC-BY-ND-4.0": "no-derivatives",
    "GPL-3.0-or-later": "copyleft",
    "MPL-2.0": "copyleft",
    "LicenseRef-scancode-proprietary-license": "proprietary",
    "llama3": "unknown",
}


@pytest.mark.parametrize(("stated", "wanted"), KNOWN.items())
def test_a_licence_has_its_class(stated: str, wanted: str) -> None:
    assert classes_of(stated) == {wanted}


@pytest.mark.parametrize("stated", [None, "", "  ", "other", "MIT License and friends", "(", "no such thing"])
def test_what_is_not_recognised_is_unknown(stated: str | None) -> None:
    read = read_licence(stated)
    assert read.spdx is None
    assert read.classes == {"unknown"}


@pytest.mark.parametrize(
    ("stated", "spdx"),
    [
        ("mit", "MIT"),
        ("odc-by", "ODC-By-1.0"),
        ("GPL-2.0", "GPL-2.0-only"),
        ("mit or (apache-2.0 and gpl-2.0+)", "MIT OR (Apache-2.0 AND GPL-2.0-or-later)"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
    ],
)
def test_spdx_is_normalised(stated: str, spdx: str) -> None:
    assert read_licence(stated).spdx == spdx
    assert read_licence(spdx).spdx == spdx


@given(st.lists(st.sampled_from(sorted(KNOWN)), min_size=1, max_size=4))
def test_expressions_follow_their_parts(parts: list[str]) -> None:
    both = classes_of(" AND ".join(parts))
    assert both == {KNOWN[part] for part in parts}
    freest = max(CLASSES.index(KNOWN[part]) for part in parts)
    assert classes_of(" OR ".join(parts)) == {CLASSES[freest]}


STATED = {
    "mit": "attribution", "Apache-2.0": "attribution", "odc-by": "attribution", "cc-by-4.0": "attribution",
    "CC0-1.0": "public-domain", "LicenseRef-Public-Domain": "public-domain", "GPL-2.0-only": "copyleft",
    "LGPL-3.0-or-later": "copyleft", "AGPL-3.0": "copyleft", "MPL-2.0": "copyleft",
    "cc-by-sa-3.0": "share-alike",
    "odbl": "share-alike",
    "cc-by-nc-4.0": "non-commercial", "cc-by-nd-4.0": "no-derivatives", "other": "unknown",
    "NOASSERTION": "unknown", "see the page": "unknown", "": "unknown",
}  # fmt: skip


@pytest.mark.parametrize(("licence", "which"), STATED.items())
def test_single_licences_in_any_case(licence: str, which: str) -> None:
    assert classes_of(licence) == {which}
    assert classes_of(licence.upper()) == {which}


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
def test_expressions_as_packages_write_them(licence: str | None, classes: set[str]) -> None:
    assert classes_of(licence) == classes


@given(st.sampled_from(list(STATED)[:-4]), st.sampled_from(list(STATED)[:-4]))
def test_and_takes_both_and_or_one(a: str, b: str) -> None:
    assert classes_of(f"{a} AND {b}") == classes_of(a) | classes_of(b)
    assert classes_of(f"({a}) OR ({b})") == classes_of(f"{b} OR {a}")
    assert classes_of(f"{a} OR {b}") in (classes_of(a), classes_of(b))


@given(st.text() | st.text(alphabet="\0()0 orand,/mit"))
@example("\0")
@example("\x0099 (mit)")
def test_any_text_has_a_class(text: str) -> None:
    assert classes_of(text)
    assert classes_of(text) <= set(CLASSES)


def test_every_licence_of_the_registry_is_read(shipped: Registry) -> None:
    stated = {source.licence for source in shipped.sources.values()} | {
        package.licence for package in shipped.packages.values()
    }
    assert {one for one in stated if one and "unknown" in classes_of(one)} == set()


def test_names_of_classes() -> None:
    assert read_classes(["unknown,non-commercial", "unknown"]) == ("unknown", "non-commercial")
    assert read_classes(["permissive"]) == ("attribution", "public-domain")
    with pytest.raises(InputError, match="unknown class of licence 'free'; classes: unknown, "):
        read_classes(["free"])
    with pytest.raises(InputError, match="did you mean copyleft"):
        read_classes(["copyleftt"])
    assert [row.source for row in gated([("a", "MIT"), ("b", None)], ("unknown",))] == ["b"]


@pytest.fixture
def stack(tmp_path: Path) -> Registry:
    """Return a registry with a source whose documents state their licences, as The Stack's do."""
    stated = [["MIT"], ["GPL-3.0-only"], [], ["MIT", "CC-BY-NC-4.0"], ["Apache-2.0"]]
    rows = [{"text": text, "detected_licenses": one} for text, one in zip(real_texts(5), stated, strict=True)]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"text": ["text"], "license": "detected_licenses"}
    entry = own_source(tmp_path / "raw", columns=columns)
    return load_registry(write_registry(tmp_path / "own.yaml", {"mine": entry}))


def test_documents_of_a_forbidden_class_are_dropped_and_counted(stack: Registry, tmp_path: Path) -> None:
    build = tmp_path / "build"
    forbid = ["non-commercial,unknown"]
    [built] = build_documents(["mine"], registry=stack, build=build, workers=1, forbid_licences=forbid)
    assert (built.read, built.kept, built.dropped) == (5, 3, {"forbidden_licence": 2})
    kept = [row["license"] for row in built_documents(build / "sample" / "documents" / "mine")]
    assert kept == ["MIT", "GPL-3.0-only", "Apache-2.0"]
    [again] = build_documents(["mine"], registry=stack, build=build, workers=1)
    assert (again.fresh, again.kept) == (True, 5), "another gate is another build"


def test_a_source_of_a_forbidden_licence_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.jsonl").write_text(json.dumps({"text": real_texts(1)[0]}) + "\n")
    entry = own_source(tmp_path / "raw", licence="cc-by-nc-4.0")
    registry = load_registry(write_registry(tmp_path / "own.yaml", {"mine": entry}))
    with pytest.raises(SourceError, match=r"forbidden: mine \(cc-by-nc-4.0: non-commercial\)"):
        build_documents(["mine"], registry=registry, build=tmp_path / "b", forbid_licences=["non-commercial"])


def test_licences_of_the_registry_are_findings(shipped: Registry) -> None:
    found = lint_sources(list(shipped.sources.values()), forbidden=("non-commercial",))
    by_code: dict[str, set[str]] = {}
    for one in found:
        by_code.setdefault(one.code, set()).add(one.source)
    stated = {name: source for name, source in shipped.sources.items() if not source.columns.license}
    unknown = {name for name, source in stated.items() if source.licence is None}
    assert by_code["licence-unknown"] == unknown
    rest = {name for name, source in shipped.sources.items() if name not in stated and not source.licence}
    assert by_code["licence-by-document"] == rest
    assert by_code["licence-forbidden"] == {n for n, s in stated.items() if s.licence == "cc-by-nc-4.0"}
    pinned = {name for name, source in shipped.sources.items() if source.hub and not source.hub.revision}
    assert by_code["revision-unpinned"] == pinned


HEAD = "a" * 40
OLD = "b" * 40


@pytest.fixture
def hub() -> Iterator[Newest]:
    """Return what asks a small server that answers as the hub does for one dataset."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = self.path.split("?")[0].split("/revision/")
            known = parts[0] == "/api/datasets/owner/name"
            revision = parts[1] if len(parts) > 1 else HEAD
            body = json.dumps({"id": "owner/name", "sha": revision}).encode()
            error = "RepoNotFound" if not known else "" if revision in {HEAD, OLD} else "RevisionNotFound"
            self.send_response(404 if error else 200)
            self.send_header("X-Error-Code", error)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield hub_newest(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("dataset", "pinned", "built", "codes"),
    [
        ("owner/name", None, None, ["revision-unpinned"]),
        ("owner/name", HEAD, HEAD, []),
        ("owner/name", OLD, None, ["revision-moved"]),
        ("owner/name", None, OLD, ["revision-unpinned", "revision-moved"]),
        ("owner/name", HEAD, OLD, ["revision-moved", "revision-moved"]),
        ("owner/name", "c" * 40, None, ["revision-gone"]),
        ("owner/gone", None, None, ["revision-unpinned", "revision-gone"]),
    ],
)
def test_a_moved_or_gone_revision_is_a_finding(
    tmp_path: Path, hub: Newest, dataset: str, pinned: str | None, built: str | None, codes: list[str]
) -> None:
    entry = own_source(tmp_path, licence="MIT", hub={"dataset": dataset, "files": ["*"], "revision": pinned})
    del entry["location"]
    registry = load_registry(write_registry(tmp_path / "own.yaml", {"mine": entry}))
    if built:
        write_json(tmp_path / "documents" / "mine" / ORIGIN, {"revision": built})
    found = lint_sources([registry.source("mine")], documents=tmp_path / "documents", newest=hub)
    assert [one.code for one in found] == codes


def test_the_revision_of_raw_files() -> None:
    assert revision_of([f"hf://datasets/owner/name@{HEAD}/data/a@b.parquet"]) == HEAD
    assert revision_of(["raw/a@b.parquet", "s3://bucket/a@b/c"]) is None


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["smoldata", "lint", "--stage", "stage3"]
    for extra, code in ([], 0), (["--forbid-licences", "non-commercial", "--json"], 1):
        monkeypatch.setattr(sys, "argv", [*command, *extra])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
    text = capsys.readouterr().out
    assert "licence-unknown" in text
    assert '"code": "licence-forbidden"' in text


def test_run_drops_forbidden_classes_and_says_what_is_not_stated(tmp_path: Path) -> None:
    texts = real_texts(6)
    stated = ["MIT", "cc-by-nc-4.0", None, "GPL-3.0-only OR MIT", "my own", "cc0-1.0"]
    rows = [
        {"text": text, "license": licence, "id": str(number)}
        for number, (text, licence) in enumerate(zip(texts, stated, strict=True))
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def kept(*extra: str) -> tuple[list[str], dict[str, int]]:
        command = ["run", "text", "--input", str(path), "--output", str(tmp_path / "out"), "--workers", "1"]
        result = CliRunner().invoke(app, [*command, *extra, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        (built,) = json.loads(result.stdout)
        assert built["read"] == built["kept"] + sum(built["dropped"].values())
        return sorted(row["id"] for row in built_documents(tmp_path / "out")), built["dropped"]

    everything = kept()[0]
    assert everything == list("012345")
    forbid = ("--forbid-licences", "non-commercial,unknown")
    assert kept(*forbid) == (["0", "3", "5"], {"forbidden_licence": 3})
    assert kept(*forbid, "--licence", "cc-by-4.0") == (["0", "2", "3", "5"], {"forbidden_licence": 2})
    assert kept("--forbid-licences", "permissive") == (["1", "2", "4"], {"forbidden_licence": 3})
    with pytest.raises(InputError, match="did you mean non-commercial"):
        kept("--forbid-licences", "non-comercial")
