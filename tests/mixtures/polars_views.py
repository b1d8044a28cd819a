"""Every view of the catalog computed once more, with Polars over the files: plans, manifests, sidecars."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl

import smolmix
from smoldata.registry import load_registry
from smolmix.plan import load_plan

CONSUMED_STEPS = 7
MATCHES = [
    ("dclm", "decoder.py", "mmlu", 40), ("dclm", "scanner.py", "mmlu", 2), ("dclm", "scanner.py", "gsm8k", 7),
    ("finemath-4plus", "headers.py", "gsm8k", 5), ("wiki-mcq-14m", "x", "mmlu", 3),
]  # fmt: skip
NODES, AHEAD = 4, 1


def plans(build: Path) -> list[tuple[str, dict[str, Any]]]:
    paths = sorted(build.glob("*/plans/*/plan.json"))
    return [(path.parent.name, json.loads(path.read_text("utf-8"))) for path in paths]


def manifests(build: Path) -> pl.DataFrame:
    frames = [
        pl.read_parquet(path).with_columns(
            pl.format("sample/tokens/bytes/{}/{}", pl.lit(path.parent.name), pl.col("path")).alias("path")
        )
        for path in sorted(build.glob("sample/tokens/*/*/manifest.parquet"))
    ]
    return pl.concat(frames).with_columns(profile=pl.lit("sample"))


def decimal(text: str | None) -> float | None:
    return None if text is None else float(Fraction(text))


def sources(build: Path) -> pl.DataFrame:
    tokens, registry = manifests(build), load_registry().sources
    documents = pl.read_parquet(build / "sample/documents/dclm/manifest.parquet")
    rows = []
    for one in plans(build)[-1][1]["sources"]:
        name = one["name"]
        known, mine = registry.get(name), tokens.filter(source=name)
        hub, size = (known.hub, known.size) if known else (None, None)
        read = documents if name == "dclm" else None
        parts = {split: mine.filter(split=split) for split in ("train", "validation")}
        row = {"profile": "sample", "source": name, "domain": known.domain if known else one["domain"],
               "source_group": known.group if known else one["group"],
               "hf_dataset": hub and hub.dataset, "hf_config": hub and hub.config,
               "revision": hub and hub.revision, "licence": known.licence if known else None,
               "language": known.language if known else None, "published_tokens": size and size.tokens,
               "published_tokenizer": size and size.tokenizer, "confidence": size and size.confidence,
               "files": None if read is None else read.height,
               "dropped": None if read is None else 3,
               "train_shards": parts["train"].height}  # fmt: skip
        for column in ("read", "kept", "text_bytes", "text_characters"):
            row[column] = None if read is None else int(read[column].sum())
        for split, part in parts.items():
            row |= {f"{split}_{count}": int(part[count].sum()) for count in ("documents", "tokens")}
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def shards(build: Path) -> pl.DataFrame:
    kept = ["profile", "tokenizer", "source", "split", "path", "bytes", "tokens", "documents", "text_bytes",
            "text_characters", "xxh3_128", "sha256", "eos_id", "token_width", "vocab_size"]  # fmt: skip
    each = (pl.col("tokens") / pl.col("documents")).alias("tokens_per_document")
    return manifests(build).select(*kept, each)


def documents(build: Path) -> pl.DataFrame:
    frames = [
        pl.read_parquet(f"{build / row['path']}.docs.parquet").with_columns(
            pl.lit(row[name]).alias(column)
            for name, column in (("path", "shard"), ("source", "source"), ("split", "split"))
        )
        for row in manifests(build).to_dicts()
    ]
    named = pl.concat(frames).with_columns(profile=pl.lit("sample"), tokenizer=pl.lit("bytes"))
    return named.with_columns((pl.col("end") - pl.col("begin")).alias("tokens"))


def stages(build: Path) -> pl.DataFrame:
    rows = []
    plain = ("preset", "unit", "sequence_length", "batch_windows", "steps", "windows", "tokens", "start_step",
             "seed", "validation_share", "prefix_bound")  # fmt: skip
    for folder, plan in plans(build):
        follows, budget = plan["follows"] or {}, plan["budget"]
        rows.append(
            {"profile": "sample", "plan": folder, "stage": plan["name"]}
            | {key: plan[key] for key in plain}
            | {key: budget[key] for key in ("asked", "asked_tokens", "remainder_tokens")}
            | {
                "budget_why": budget["why"],
                "follows": follows.get("name"),
                "follows_lock": follows.get("lock"),
            }
            | {"tokenizer": plan["tokenizer"]["name"], "tokenizer_sha256": plan["tokenizer"]["sha256"]}
            | {"lock": plan["lock"]["hash"], "end_step": plan["start_step"] + plan["steps"]}
        )
    return pl.DataFrame(rows)


def allocation(build: Path) -> pl.DataFrame:
    plain = ("domain", "status", "published_weight", "weight", "windows", "tokens", "shards",
             "capacity_windows", "offset_windows", "held_back_windows", "first_shard_offset")  # fmt: skip
    rows = [
        {"profile": "sample", "plan": folder, "stage": plan["name"], "preset": plan["preset"]}
        | {"source": one["name"], "source_group": one["group"], "percent": 100 * decimal(one["weight"])}
        | {key: one[key] for key in plain}
        | {"passes": decimal(one["passes"]), "passes_before": decimal(one["passes_before"])}
        | {"passes_exact": one["passes"], "passes_before_exact": one["passes_before"]}
        for folder, plan in plans(build)
        for one in plan["sources"]
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def exposure(build: Path) -> pl.DataFrame:
    """Add up the passes of the earlier stages, which the plan states: not read from it here."""
    kept = ["profile", "plan", "stage", "preset", "source", "domain", "windows", "tokens", "passes"]
    rows = allocation(build).sort("plan").select(kept)
    summed = rows.with_columns((pl.col("passes").cum_sum().over("source")).alias("passes_after"))
    return summed.with_columns((pl.col("passes_after") - pl.col("passes")).alias("passes_before"))


def planned_shards(build: Path) -> pl.DataFrame:
    return pl.concat(_shard_list(build, path) for path in build.glob("sample/plans/*/shards.parquet"))


def _shard_list(build: Path, path: Path) -> pl.DataFrame:
    inside = [
        (path.parent / one).resolve().relative_to(build.resolve()).as_posix()
        for one in pl.read_parquet(path)["path"]
    ]
    return pl.read_parquet(path).with_columns(
        pl.Series("path", inside), profile=pl.lit("sample"), plan=pl.lit(path.parent.name)
    )


def staging(build: Path) -> pl.DataFrame:
    table = _shard_list(build, build / "sample/bundles/stage2-blog/shards.parquet").drop("xxh3_128")
    plan = load_plan(build / "sample/plans/stage2-blog")
    first: dict[tuple[str, int], int] = {}
    for index in range(plan.windows):
        sample = plan.at(index)
        first.setdefault((sample.source, sample.shard), index // plan.batch_windows)
    steps = [first.get((row["source"], row["ordinal"])) for row in table.to_dicts()]
    opened = table.with_columns(pl.Series("first_step", steps, pl.Int64)).filter(
        pl.col("first_step").is_not_null()
    )
    then = [opened.filter(pl.col("first_step") <= step)["bytes"].sum() for step in opened["first_step"]]
    return opened.with_columns(pl.Series("bytes_by_then", then))


def timetable(build: Path) -> pl.DataFrame:
    """Walk over every window; a pass's reads of a shard on a node are a visit, visits that touch are one."""
    plan = load_plan(build / "sample/plans/stage2-blog")
    reads: dict[tuple[int, str, int, int], list[int]] = {}
    for index in range(plan.windows):
        at, (step, row) = plan.at(index), divmod(index, plan.batch_windows)
        key = (row * NODES // plan.batch_windows, at.source, at.shard, at.pass_)
        reads.setdefault(key, []).append(step)
    visits: list[dict[str, Any]] = []
    for (node, source, shard, pass_), seen in sorted(reads.items()):
        first, last = min(seen), max(seen)
        place, before = {"node": node, "source": source, "ordinal": shard}, visits[-1] if visits else {}
        if place.items() <= before.items() and first - AHEAD <= before["last_step"] + 1:
            before["last_step"] = last
        else:
            fetch = max(0, first - AHEAD)
            steps_ = {"pass": pass_, "fetch_step": fetch, "first_step": first, "last_step": last}
            visits.append({**place, **steps_, "nodes": NODES})
    table = _shard_list(build, build / "sample/plans/stage2-blog/shards.parquet")
    return pl.DataFrame(visits).join(
        table.select("profile", "plan", "source", "ordinal", "path", "bytes"), on=["source", "ordinal"]
    )


def steps(build: Path) -> pl.DataFrame:
    rows, before = [], 0
    for folder, plan in plans(build):
        for step in range(plan["steps"]):
            before += 1
            rows.append({"profile": "sample", "plan": folder, "stage": plan["name"], "step": step,
                         "curriculum_step": before, "first_index": 8 * step, "last_index": 8 * step + 7,
                         "tokens_after": 8 * 512 * (step + 1)})  # fmt: skip
    return pl.DataFrame(rows)


def findings(build: Path) -> pl.DataFrame:
    rows = [
        {"profile": "sample", "plan": folder} | {key: one[key] for key in one}
        for folder, plan in plans(build)
        for one in plan["findings"]
    ]
    return pl.DataFrame(rows)


def reconciliation(build: Path) -> pl.DataFrame:
    ledger = pl.read_parquet(build / "sample/runs/long/ledger/*.parquet")
    counted = dict(ledger.group_by("source").len().rows())
    tokenized = dict(manifests(build).filter(split="train").group_by("source").agg(pl.sum("tokens")).rows())
    rows: list[dict[str, Any]] = []
    for folder, plan in plans(build):
        presets = {name: smolmix.weights(plan["name"], name) for name in ("blog", "released")}
        sums: dict[str, list[dict[str, Any]]] = {}
        for one in plan["sources"]:
            exact = {name: weights.get(one["name"]) for name, weights in presets.items()}
            exact["planned"] = Fraction(one["weight"])
            drawn = counted.get(one["name"], 0) if plan["name"] == "stage2" else None
            row = {"exact": exact, "domain": one["domain"], "source": one["name"], "windows": one["windows"],
                   "tokens": one["tokens"], "tokenized": tokenized.get(one["name"], 0), "consumed": drawn,
                   }  # fmt: skip
            sums.setdefault(one["domain"], []).append(row)
        for domain, members in sums.items():
            whole: dict[str, Any] = {"domain": domain, "source": None, "exact": {}}
            for name in ("windows", "tokens", "tokenized", "consumed"):
                values = [row[name] for row in members]
                whole[name] = None if None in values else sum(values)
            for name in ("blog", "released", "planned"):
                values = [row["exact"][name] for row in members]
                whole["exact"][name] = None if None in values else sum(values, Fraction(0))
            rows += [
                _reconciled(row) | {"profile": "sample", "plan": folder, "stage": plan["name"]}
                for row in [whole, *members]
            ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _reconciled(row: dict[str, Any]) -> dict[str, Any]:
    flat = {key: value for key, value in row.items() if key != "exact"}
    for name, value in row["exact"].items():
        flat[name] = None if value is None else f"{value.numerator}/{value.denominator}"
        flat[f"{name}_percent"] = None if value is None else float(100 * value)
    drawn = row["consumed"]
    return flat | {"consumed_percent": None if drawn is None else 100 * drawn / (8 * CONSUMED_STEPS)}


def contamination(build: Path) -> pl.DataFrame:
    """Walk over every window and count the tokens that it shares with each document."""
    rows = []
    for folder, plan in plans(build):
        order = load_plan(build / "sample/plans" / folder)
        paths = {(row["source"], row["ordinal"]): row["path"] for row in order.shards().to_pylist()}
        held = {
            place: pl.read_parquet(build / "sample/plans" / folder / f"{path}.docs.parquet").rows(named=True)
            for place, path in paths.items()
        }
        read: dict[tuple[str, str], int] = {}
        for at in map(order.at, range(order.windows)):
            begin, end = at.window * 513, (at.window + 1) * 513
            for row in held[at.source, at.shard]:
                both = max(0, min(end, row["end"]) - max(begin, row["begin"]))
                read[at.source, row["id"]] = read.get((at.source, row["id"]), 0) + both
        passes = {one["name"]: one["passes"] or "0/1" for one in plan["sources"]}
        for benchmark, source in sorted({(one[2], one[0]) for one in MATCHES}):
            mine = [one for one in MATCHES if (one[2], one[0]) == (benchmark, source)]
            exact, tokens = Fraction(passes[source]), sum(one[3] for one in mine)
            seen = sum(read.get((source, one[1]), 0) for one in mine) if source != "wiki-mcq-14m" else None
            texts = [f"{value.numerator}/{value.denominator}" for value in (exact, exact * tokens)]
            rows.append({"profile": "sample", "plan": folder, "stage": plan["name"], "benchmark": benchmark,
                         "source": source, "documents": len(mine), "matched_tokens": tokens,
                         "passes": float(exact), "passes_exact": texts[0], "exposure": float(exact * tokens),
                         "exposure_exact": texts[1], "tokens_read": seen})  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


def compression(build: Path) -> pl.DataFrame:
    """Count each document's ids in the sidecars; characters and bytes are the manifests'."""
    languages = {one.name: one.language for one in load_registry().sources.values()}
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for path in sorted(build.glob("sample/tokens/*/*/manifest.parquet")):
        for shard in pl.read_parquet(path).filter(pl.col("text_bytes") > 0).rows(named=True):
            docs = pl.read_parquet(path.parent / f"{shard['path']}.docs.parquet", columns=["begin", "end"])
            key = (shard["tokenizer"], shard["source"], shard["split"])
            row = rows.setdefault(key, {"documents": 0, "characters": 0, "bytes": 0, "tokens": 0})
            row["documents"] += docs.height
            row["characters"] += shard["text_characters"]
            row["bytes"] += shard["text_bytes"]
            row["tokens"] += (docs["end"] - docs["begin"] - 1).sum()
    found = [
        {"profile": "sample", "tokenizer": tokenizer, "source": source, "language": languages.get(source),
         "split": split, **row, "characters_per_token": row["characters"] / row["tokens"],
         "bytes_per_token": row["bytes"] / row["tokens"]}
        for (tokenizer, source, split), row in rows.items()
    ]  # fmt: skip
    return pl.DataFrame(found, infer_schema_length=None)


def document_statistics(build: Path) -> pl.DataFrame:
    frames = [pl.read_parquet(path) for path in sorted(build.glob("sample/documents/*/statistics.parquet"))]
    return pl.concat(frames).with_columns(profile=pl.lit("sample"))


COMPUTED = {
    "sources": (sources, ["source"]),
    "documents": (documents, ["shard", "begin"]),
    "shards": (shards, ["path"]),
    "stages": (stages, ["plan"]),
    "allocation": (allocation, ["plan", "source"]),
    "exposure": (exposure, ["plan", "source"]),
    "planned_shards": (planned_shards, ["plan", "source", "ordinal"]),
    "staging": (staging, ["source", "ordinal"]),
    "timetable": (timetable, ["node", "source", "ordinal", "first_step"]),
    "steps": (steps, ["curriculum_step"]),
    "findings": (findings, ["plan", "code", "source"]),
    "reconciliation": (reconciliation, ["plan", "domain", "source"]),
    "contamination": (contamination, ["plan", "benchmark", "source"]),
    "compression": (compression, ["tokenizer", "source", "split"]),
    "document_statistics": (document_statistics, ["source", "kind", "name", "low"]),
}
