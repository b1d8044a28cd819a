"""The ledger: equal to the plan's prefix or refused with the first row that differs; whole after any cut."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smoldata.errors import InputError, IntegrityError
from smoltrain.bundle import Bundle, open_bundle
from smoltrain.ledger import LEDGER_SCHEMA, check_ledger, segments, truncate, write_segment
from smoltrain.loader import open_loader

if TYPE_CHECKING:
    from tests.conftest import SmallHouse


@pytest.fixture
def bundle(small_house: "SmallHouse") -> Bundle:
    return open_bundle(small_house.bundle)


def consume(bundle: Bundle, folder: Path, cuts: tuple[int, ...]) -> None:
    """Write the ledger of a run that made a checkpoint at each of ``cuts``."""
    loader = open_loader(bundle)
    for first, end in zip((0, *cuts), cuts, strict=False):
        write_segment(folder, bundle, first, [loader.batch(step).places for step in range(first, end)])


def test_a_run_in_order_equals_the_plan(bundle: Bundle, tmp_path: Path) -> None:
    consume(bundle, tmp_path, (4, 9, 10))
    proof = check_ledger(tmp_path, bundle)
    assert (proof.steps, proof.windows) == (10, 60)
    drawn = [bundle.plan.at(index).source for index in range(60)]
    assert proof.windows_by_source == {name: drawn.count(name) for name in sorted(set(drawn))}


def test_rows_are_those_of_the_contract(bundle: Bundle, tmp_path: Path) -> None:
    consume(bundle, tmp_path, (2,))
    table = pq.read_table(segments(tmp_path)[0].path)
    assert table.schema.equals(LEDGER_SCHEMA)
    for row in table.to_pylist():
        sample = bundle.plan.at(row["index"])
        assert row == {
            "step": row["index"] // bundle.batch_windows,
            "index": bundle.plan.index_of(sample.source, sample.pass_, sample.shard, sample.window),
            "source": sample.source,
            "pass": sample.pass_,
            "shard": sample.shard,
            "window": sample.window,
        }


@pytest.mark.parametrize("column", ["step", "index", "source", "pass", "shard", "window"])
def test_one_changed_value_is_found(bundle: Bundle, tmp_path: Path, column: str) -> None:
    consume(bundle, tmp_path, (4,))
    path = segments(tmp_path)[0].path
    table = pq.read_table(path)
    values: list[Any] = table.column(column).to_pylist()
    others = [name for name in bundle.sources if name != values[7]]
    values[7] = others[0] if column == "source" else values[7] + 1
    kind = table.schema.field(column).type
    changed = table.set_column(
        table.column_names.index(column), LEDGER_SCHEMA.field(column), pa.array(values, kind)
    )
    pq.write_table(changed.cast(LEDGER_SCHEMA), path)
    with pytest.raises(IntegrityError, match=rf"sample 7 \(step 1\) has {column} {values[7]}, the plan says"):
        check_ledger(tmp_path, bundle)


def test_a_lost_segment_is_found(bundle: Bundle, tmp_path: Path) -> None:
    consume(bundle, tmp_path, (2, 4, 6))
    segments(tmp_path)[1].path.unlink()
    with pytest.raises(IntegrityError, match="begins at step 4, but step 2 is due"):
        check_ledger(tmp_path, bundle)


def test_lost_rows_are_found(bundle: Bundle, tmp_path: Path) -> None:
    consume(bundle, tmp_path, (3,))
    path = segments(tmp_path)[0].path
    pq.write_table(pq.read_table(path).slice(0, 17), path)
    with pytest.raises(IntegrityError, match="has 17 windows up to step 3, the plan 18"):
        check_ledger(tmp_path, bundle)


def test_a_foreign_file_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    pq.write_table(pa.table({"step": [1]}), tmp_path / "steps-0000000-0000001.parquet")
    with pytest.raises(IntegrityError, match="not the columns of a ledger"):
        check_ledger(tmp_path, bundle)


def test_no_ledger_is_an_input_error(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no ledger segment"):
        check_ledger(tmp_path, bundle)


def test_another_plan_is_not_this_plan(bundle: Bundle, small_house: "SmallHouse", tmp_path: Path) -> None:
    consume(bundle, tmp_path / "ledger", (5,))
    shutil.copytree(small_house.bundle, tmp_path / "other")
    plan = tmp_path / "other" / "plan" / "plan.json"
    document = json.loads(plan.read_text())
    document["seed"] += 1
    plan.write_text(json.dumps(document))
    with pytest.raises(IntegrityError, match="the run did not follow this plan"):
        check_ledger(tmp_path / "ledger", open_bundle(tmp_path / "other"))


@pytest.mark.parametrize("step", [0, 1, 4, 5, 8, 9, 12])
def test_cutting_at_a_step_and_going_on_gives_the_same_rows(
    bundle: Bundle, tmp_path: Path, step: int
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    consume(bundle, whole, (4, 9, 12))
    consume(bundle, cut, (4, 9, 12))
    truncate(cut, step)
    left = [
        row for segment in segments(cut) for row in pq.read_table(segment.path).column("step").to_pylist()
    ]
    assert left == np.repeat(np.arange(step), bundle.batch_windows).tolist()
    loader = open_loader(bundle)
    if step < 12:
        write_segment(cut, bundle, step, [loader.batch(at).places for at in range(step, 12)])
    assert check_ledger(cut, bundle) == check_ledger(whole, bundle)
