"""A small build folder of real text, by simple code: the standard library's own sources as token shards.

Ids are UTF-8 bytes and 256 is the end of a document, so every number can be counted by hand. The files are
those of docs/formats.md; the plan is written by four lines of arithmetic, not by the planner under test.
"""

import json
import shutil
import sysconfig
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smoldata.files import write_json, xxh3_128
from smoltok.manifest import TOKEN_MANIFEST_SCHEMA

EOS, VOCAB, SEQUENCE, BATCH = 256, 257, 512, 8
TOKENIZER = {"name": "bytes", "sha256": "0" * 64, "eos_id": EOS, "token_width": 2, "vocab_size": VOCAB}
FOLDERS = {"dclm": "json", "stack-edu-python": "email", "finemath-4plus": "wsgiref"}
DOMAINS = {"dclm": "web", "stack-edu-python": "code", "finemath-4plus": "math", "wiki-mcq-14m": "math"}


def _texts(package: str) -> list[tuple[str, str]]:
    folder = Path(sysconfig.get_paths()["stdlib"]) / package
    return [(path.name, path.read_text("utf-8")) for path in sorted(folder.glob("*.py"))]


def write_shard(folder: Path, name: str, documents: list[tuple[str, str]]) -> dict[str, Any]:
    """Write one shard of four files and return its manifest row."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = [[*text.encode(), EOS] for _, text in documents]
    ends = np.cumsum([len(one) for one in ids]).astype("<u8")
    path = folder / name
    np.concatenate([np.array(one, dtype="<u2") for one in ids]).tofile(path)
    ends.tofile(f"{path}.index")
    Path(f"{path}.metadata").write_text(f"bytes|2\n{ends[-1]}\n{ends[-1] / 1000:.1f} K\n", "utf-8")
    rows = {
        "begin": [0, *ends[:-1].tolist()],
        "end": ends.tolist(),
        "id": [name_ for name_, _ in documents],
        "file": ["00000.parquet"] * len(documents),
        "row": list(range(len(documents))),
    }
    pq.write_table(pa.table(rows), f"{path}.docs.parquet")
    return {
        "format_version": 1, "source": "", "split": "train", "path": name,
        "bytes": path.stat().st_size, "tokens": int(ends[-1]), "documents": len(documents),
        "text_bytes": int(ends[-1]) - len(documents), "text_characters": sum(len(t) for _, t in documents),
        "xxh3_128": xxh3_128(path), "sha256": "", "index_xxh3_128": xxh3_128(Path(f"{path}.index")),
        "metadata_xxh3_128": xxh3_128(Path(f"{path}.metadata")),
        "docs_xxh3_128": xxh3_128(Path(f"{path}.docs.parquet")),
        "tokenizer": "bytes", "tokenizer_sha256": "0" * 64, "eos_id": EOS, "token_width": 2,
        "vocab_size": VOCAB, "validation_share": "1/10", "input_path": "00000.parquet",
        "input_xxh3_128": "0" * 32, "document_order": "file",
        "code_version": "test",
    }  # fmt: skip


def write_source(tokens: Path, source: str, package: str) -> list[dict[str, Any]]:
    """Tokenize one standard library package: two training shards and one validation shard."""
    texts = _texts(package)
    folder = tokens / source
    held, train = texts[:1], texts[1:]
    half = (len(train) + 1) // 2
    rows = [write_shard(folder, "00000.ds", train[:half])]
    if train[half:]:
        rows.append(write_shard(folder, "00001.ds", train[half:]))
    rows.append(write_shard(folder / "validation", "00000.ds", held))
    rows[-1] |= {"split": "validation", "path": "validation/00000.ds"}
    rows = [row | {"source": source} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows, schema=TOKEN_MANIFEST_SCHEMA), folder / "manifest.parquet")
    return rows


def _text(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def _entry(name: str, weight: Fraction, windows: int, capacity: int, before: int) -> dict[str, Any]:
    present = name in FOLDERS
    return {
        "name": name, "domain": DOMAINS[name], "group": DOMAINS[name],
        "status": "present" if present else "absent",
        "published_weight": _text(weight) if present else "1/10",
        "weight": _text(weight), "windows": windows,
        "tokens": windows * SEQUENCE, "shards": 0, "capacity_windows": capacity,
        "base_windows": 0, "offset_windows": before,
        "held_back_windows": 0, "first_shard_offset": 0,
        "passes_before": _text(Fraction(before, capacity)) if capacity else None,
        "passes": _text(Fraction(windows, capacity)) if capacity else None,
    }  # fmt: skip


def write_plan(
    folder: Path, stage: int, weights: dict[str, Fraction], steps: int, previous: dict[str, Any] | None
) -> dict[str, Any]:
    """Write a plan whose counts are weight x windows; steps are chosen so that they are whole."""
    tokens = folder.parent.parent / "tokens" / "bytes"
    before = {one["name"]: one["windows"] for one in previous["sources"]} if previous else {}
    windows, shards, sources = steps * BATCH, [], []
    for name in sorted(weights):
        rows = []
        if name in FOLDERS:
            manifest = pq.read_table(tokens / name / "manifest.parquet").to_pylist()
            rows = [row for row in manifest if row["split"] == "train"]
        counts = [row["tokens"] // (SEQUENCE + 1) for row in rows]
        drawn = weights[name] * windows
        assert drawn.denominator == 1
        entry = _entry(name, weights[name], int(drawn), sum(counts), before.get(name, 0))
        sources.append(entry | {"shards": len(rows)})
        for ordinal, (row, count) in enumerate(zip(rows, counts, strict=True)):
            shards.append(
                {
                    "source": name, "ordinal": ordinal,
                    "path": f"../../tokens/bytes/{name}/{row['path']}", "tokens": row["tokens"],
                    "documents": row["documents"], "bytes": row["bytes"], "windows": count,
                    "xxh3_128": row["xxh3_128"], "sha256": "", "virtual": False,
                }
            )  # fmt: skip
    plan = {
        "format_version": 1, "name": f"stage{stage}", "preset": "blog", "profile": "sample",
        "unit": "windows", "sequence_length": SEQUENCE, "batch_windows": BATCH, "steps": steps,
        "windows": windows, "tokens": windows * SEQUENCE,
        "start_step": previous["start_step"] + previous["steps"] if previous else 0,
        "budget": {"asked": None, "asked_tokens": windows * SEQUENCE, "remainder_tokens": 0,
                   "why": "test: whole steps"},
        "follows": {"name": previous["name"], "lock": previous["lock"]["hash"]} if previous else None,
        "seed": 6, "validation_share": "1/10", "tokenizer": TOKENIZER, "prefix_bound": "5/4",
        "weight_bound": "5/4",
        "sources": sources,
        "findings": [{"code": "absent-source", "severity": "warning", "source": "wiki-mcq-14m",
                      "message": "wiki-mcq-14m: no text in this profile; 1/10 goes to its group",
                      "fix": "point the source at data of your own"}],
        "lock": {"hash": f"{stage:032x}", "parts": {"recipe": "a", "shards": "b"}},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "plan.json", plan)
    pq.write_table(pa.Table.from_pylist(shards), folder / "shards.parquet")
    return plan


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a build folder: three sources of real text, stage1 and stage2 planned. Treat it as read-only."""
    build = tmp_path_factory.mktemp("built") / "build"
    tokens = build / "sample" / "tokens" / "bytes"
    for source, package in FOLDERS.items():
        write_source(tokens, source, package)
    plans = build / "sample" / "plans"
    names = ("dclm", "stack-edu-python", "finemath-4plus", "wiki-mcq-14m")
    first = dict(zip(names, (Fraction(17, 20), Fraction(3, 20), Fraction(0), Fraction(0)), strict=True))
    second = dict(zip(names, (Fraction(3, 4), Fraction(3, 20), Fraction(1, 10), Fraction(0)), strict=True))
    stage1 = write_plan(plans / "stage1-blog", 1, first, 40, None)
    write_plan(plans / "stage2-blog", 2, second, 20, stage1)
    return build


@pytest.fixture(scope="session")
def catalogued(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a build folder with the bundle of stage 2 and the catalog. Treat it as read-only."""
    from smolmix.bundle import write_bundle
    from smolmix.catalog import write_catalog
    from smolmix.nanotron import Launch
    from smolmix.plan import load_plan
    from smolmix.staging import shard_sizes, timetable
    from smolmix.staging_lists import shard_names, write_timetable

    build = Path(shutil.copytree(built, tmp_path_factory.mktemp("catalogued") / "build"))
    sample, name = build / "sample", "stage2-blog"
    write_bundle(
        sample / "plans" / name, sample / "bundles" / name, recipe=b"x", launch=Launch(model="debug")
    )
    plan = load_plan(sample / "plans" / name)
    visits = timetable(plan, shard_sizes(sample / "plans" / name, plan), nodes=2, ahead=1)
    names = shard_names(sample / "plans" / name, plan)
    write_timetable(visits, names, sample / "staging" / f"{name}.parquet", plan.lock.hash)
    write_catalog(build)
    return build


@pytest.fixture
def own_build(built: Path, tmp_path: Path) -> Path:
    """Give a copy of ``built`` that a test may change."""
    return Path(shutil.copytree(built, tmp_path / "build"))


@pytest.fixture
def stage2_plan(built: Path) -> dict[str, Any]:
    """plan.json of stage 2 of ``built``."""
    return dict(json.loads((built / "sample/plans/stage2-blog/plan.json").read_text("utf-8")))
