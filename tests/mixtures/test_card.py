"""The dataset card: counts are those of the manifests, the hub's own tools read it, Croissant validates."""

import json
import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from huggingface_hub import DatasetCard
from huggingface_hub.repocard import metadata_load

from smoldata.documents import DOCUMENT_MANIFEST_SCHEMA, DOCUMENT_SCHEMA
from smoldata.errors import InputError, IntegrityError
from smolmix.card import hub_languages, hub_licences, size_category, write_card

MLCROISSANT = os.environ.get("MLCROISSANT") or shutil.which("mlcroissant")
PLAN = "sample/plans/stage2-blog"
HOW = (
    "needs mlcroissant: python3 -m venv croissant && croissant/bin/pip install 'mlcroissant[parquet]', "
    "then set MLCROISSANT=croissant/bin/mlcroissant"
)


def write_documents(build: Path, name: str, files: list[list[dict[str, Any]]]) -> None:
    """Write document files and their manifest, by the schemas of docs/formats.md."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = build / "sample/documents" / name
    folder.mkdir(parents=True)
    rows = []
    for number, documents in enumerate(files):
        path = folder / f"{number:05d}.parquet"
        filled = [
            {field.name: None for field in DOCUMENT_SCHEMA} | one | {"source": name} for one in documents
        ]
        pq.write_table(pa.Table.from_pylist(filled, schema=DOCUMENT_SCHEMA), path)
        rows.append({
            "format_version": 1, "source": name, "path": path.name, "bytes": path.stat().st_size,
            "documents": len(documents), "read": len(documents), "kept": len(documents), "dropped": [],
            "text_bytes": sum(len(one["text"].encode()) for one in documents),
            "text_characters": sum(len(one["text"]) for one in documents), "xxh3_128": "", "sha256": "",
            "input_hash": "", "code_version": "test",
        })  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT_MANIFEST_SCHEMA), folder / "manifest.parquet")


@pytest.fixture
def build(own_build: Path) -> Path:
    """Give a build folder with documents of two sources of the plan, one in two files."""
    texts = [path.read_text("utf-8") for path in sorted(Path(json.__file__).parent.glob("*.py"))]
    web = [
        {"id": f"w{n}", "text": text, "license": "MIT", "language": "eng_Latn"}
        for n, text in enumerate(texts)
    ]
    write_documents(own_build, "dclm", [web[:2], web[2:]])
    code = [
        {"id": "c0", "text": "é = 1", "license": "Apache-2.0 OR BSD-3-Clause", "language": "Python"},
        {"id": "c1", "text": "y", "license": None, "language": "fra_Latn"},
    ]
    write_documents(own_build, "stack-edu-python", [code])
    return own_build


def test_counts_are_those_of_the_manifests(build: Path) -> None:
    card, _ = write_card(build / PLAN)
    assert card == (build / "sample/README.md").resolve()
    data = metadata_load(card)
    assert data is not None
    for info, config in zip(data["dataset_info"], data["configs"], strict=True):
        name = info["config_name"]
        manifest = pl.read_parquet(build / "sample/documents" / name / "manifest.parquet")
        (split,) = info["splits"]
        assert split["num_examples"] == manifest["documents"].sum()
        assert split["num_bytes"] == info["dataset_size"] == manifest["text_bytes"].sum()
        assert info["download_size"] == manifest["bytes"].sum()
        assert config["config_name"] == name
        paths = config["data_files"][0]["path"]
        assert sum((card.parent / path).stat().st_size for path in paths) == info["download_size"]
    assert [info["config_name"] for info in data["dataset_info"]] == ["dclm", "stack-edu-python"]


def test_the_hubs_own_tools_read_the_front_matter(build: Path) -> None:
    card = DatasetCard.load(write_card(build / PLAN)[0])
    assert card.data.license == ["apache-2.0", "bsd-3-clause", "mit", "unknown"]
    assert card.data.language == ["code", "eng", "fra"]
    assert card.data.size_categories == ["n<1K"]
    assert card.data.source_datasets == ["original"]
    assert card.data.pretty_name == "stage2 blog (sample)"
    lock = json.loads((build / PLAN / "plan.json").read_text("utf-8"))["lock"]["hash"]
    assert lock in card.text
    assert "| dclm | web |" in card.text


def test_twice_gives_the_same_bytes(build: Path, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_card(build / PLAN, tmp_path / "a" / "README.md")]
    assert [path.read_bytes() for path in write_card(build / PLAN, tmp_path / "b" / "README.md")] == first


def test_croissant_names_every_file_with_its_hash(build: Path) -> None:
    described = json.loads(write_card(build / PLAN)[1].read_text("utf-8"))
    files = {one["@id"]: one for one in described["distribution"] if one["@type"] == "cr:FileObject"}
    there = {path.relative_to(build / "sample").as_posix(): path.read_bytes()
             for path in (build / "sample/documents").glob("*/0*.parquet")}  # fmt: skip
    assert set(files) == set(there)
    for name, content in there.items():
        assert files[name]["sha256"] == sha256(content).hexdigest()
        assert files[name]["contentSize"] == f"{len(content)} B"
    assert [one["@id"] for one in described["recordSet"]] == ["dclm", "stack-edu-python"]


@pytest.mark.skipif(not MLCROISSANT, reason=HOW)
def test_croissant_validates_and_loads(build: Path) -> None:
    path = write_card(build / PLAN)[1]
    assert MLCROISSANT
    count = (
        "import sys, mlcroissant; dataset = mlcroissant.Dataset(jsonld=sys.argv[1]); "
        "print(*(len(list(dataset.records(record_set=name))) for name in sys.argv[2:]))"
    )
    read = subprocess.run(
        [Path(MLCROISSANT).parent / "python", "-c", count, path, "dclm", "stack-edu-python"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    texts = [len(list(Path(json.__file__).parent.glob("*.py"))), 2]
    assert read.stdout.split() == [str(one) for one in texts], read.stderr
    done = subprocess.run(
        [MLCROISSANT, "validate", "--jsonld", str(path)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr.lower()
    assert "not standard" not in done.stderr


def test_a_plan_without_documents_has_no_card(own_build: Path) -> None:
    with pytest.raises(InputError, match="PROFILE=sample"):
        write_card(own_build / PLAN)
    assert not (own_build / "sample/README.md").exists()


def test_a_file_that_is_not_its_manifests_is_named(build: Path) -> None:
    path = build / "sample/documents/dclm/00001.parquet"
    path.write_bytes((path.parent / "00000.parquet").read_bytes())
    with pytest.raises(IntegrityError, match="dclm"):
        write_card(build / PLAN)


def test_names_of_the_hub() -> None:
    assert hub_licences(["LGPL-3.0-or-later", "MPL-2.0 AND MIT", "LicenseRef-X", "unknown"]) == [
        "lgpl-3.0", "mit", "mpl-2.0", "other", "unknown",
    ]  # fmt: skip
    assert hub_languages(["fra_Latn", "Python", "eng", "unknown"]) == ["code", "eng", "fra"]
    assert [size_category(n) for n in (0, 999, 1000, 10**12)] == ["n<1K", "n<1K", "1K<n<10K", "n>1T"]
