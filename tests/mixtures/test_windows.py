"""Windows as a sequence: the plan's places, the shards' bytes, in any process, thread or batch."""

import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smoldata.errors import InputError, IntegrityError
from smoldata.files import write_json
from smolmix import windows as module
from smolmix.plan import load_plan
from smolmix.windows import open_windows

PLAN, BUNDLE = "sample/plans/stage2-blog", "sample/bundles/stage2-blog"


def test_each_window_is_what_the_plan_says(catalogued: Path) -> None:
    windows = open_windows(catalogued / PLAN)
    assert len(windows) == 160
    for index, tokens in enumerate(windows):  # type: ignore[arg-type]  # a sequence is iterable
        at = windows.plan.at(index)
        shard = catalogued / "sample/tokens/bytes" / at.source / f"{at.shard:05}.ds"
        ids = np.fromfile(shard, "<u2", 513, offset=at.window * 513 * 2)
        assert np.array_equal(tokens, ids)
    assert index == 159


def test_one_many_bundle_root_and_another_process_agree(catalogued: Path, tmp_path: Path) -> None:
    windows = open_windows(catalogued / PLAN)
    chosen = [3, 159, 0, 3]
    expected = [windows[index] for index in chosen]
    shutil.copytree(catalogued / BUNDLE, tmp_path / "elsewhere")
    for other in (
        open_windows(catalogued / BUNDLE),
        open_windows(tmp_path / "elsewhere", catalogued / "sample"),
        pickle.loads(pickle.dumps(windows)),  # noqa: S301 - our own object
    ):
        assert np.array_equal(other.__getitems__(chosen), expected)
        assert other[3].flags.writeable
    assert windows.__getitems__([]) == []
    with pytest.raises(IndexError, match="0 to 159"):
        windows[160]


def test_threads_share_it_with_few_maps_open(catalogued: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OPEN", 1)
    windows = open_windows(catalogued / PLAN)
    expected = open_windows(catalogued / PLAN).__getitems__(range(160))
    with ThreadPoolExecutor(8) as pool:
        assert np.array_equal(list(pool.map(windows.__getitem__, range(160))), expected)
    assert len(windows._open) == 1


def test_a_shard_that_is_not_as_planned_is_named(own_build: Path) -> None:
    shard = own_build / "sample/tokens/bytes/dclm/00000.ds"
    os.truncate(shard, shard.stat().st_size - 2)
    with pytest.raises(IntegrityError, match=r"dclm/00000\.ds: [\d,]+ bytes are there"):
        open_windows(own_build / PLAN).__getitems__(range(160))
    shard.unlink()
    with pytest.raises(IntegrityError, match="nothing is there"):
        open_windows(own_build / PLAN).__getitems__(range(160))


def test_an_id_beyond_the_vocabulary_is_refused(own_build: Path) -> None:
    shard = own_build / "sample/tokens/bytes/dclm/00000.ds"
    shard.write_bytes(b"\xff\xff" * (shard.stat().st_size // 2))
    with pytest.raises(IntegrityError, match="65,535 in a shard, but bytes has ids below 257"):
        open_windows(own_build / PLAN).__getitems__(range(160))


def test_a_plan_without_data_or_with_another_list_is_refused(own_build: Path) -> None:
    folder = own_build / PLAN
    table = pq.read_table(folder / "shards.parquet")
    pq.write_table(table.slice(1), folder / "shards.parquet")
    with pytest.raises(IntegrityError, match="lists 5 shards, the plan has 6"):
        open_windows(folder)
    nulls = pa.nulls(table.num_rows, pa.string())
    column = table.column_names.index("path")
    plan = load_plan(folder).as_json()
    pq.write_table(table.set_column(column, "path", nulls), folder / "shards.parquet")
    with pytest.raises(InputError, match="planned without data"):
        open_windows(folder)
    pq.write_table(table, folder / "shards.parquet")
    plan["tokenizer"]["token_width"] = None
    write_json(folder / "plan.json", plan)
    with pytest.raises(InputError, match="planned without data"):
        open_windows(folder)
