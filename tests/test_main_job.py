"""The main job end to end: by-hand numbers, nothing to do, and what happens when it goes wrong."""

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from tests import main_job

COUNTS = {"topics": 110, "stdlib": 67, "numbers": 23}
"""200 windows at 0.55, 0.333, 0.117: 110, 66.6 and 23.4; the last window goes to the largest remainder."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("main")
    main_job.lay_out(folder)
    done = main_job.run(folder)
    assert done.returncode == 0, done.stderr
    return folder


def _plan(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "build/sample/plans/trial/plan.json").read_text())
    return found


def test_the_plan_has_the_numbers_computed_by_hand(built: Path) -> None:
    plan = _plan(built)
    sources = {one["name"]: one for one in plan["sources"]}  # type: ignore[attr-defined]
    assert {name: one["windows"] for name, one in sources.items()} == COUNTS
    assert {name: Fraction(one["weight"]) for name, one in sources.items()} == {
        "topics": Fraction(11, 20),
        "stdlib": Fraction(333, 1000),
        "numbers": Fraction(117, 1000),
    }
    assert (plan["steps"], plan["windows"], plan["tokens"]) == (50, 200, 200 * 128)
    for one in sources.values():
        assert Fraction(one["passes"]) == Fraction(one["windows"], one["capacity_windows"])


def test_the_order_draws_what_the_plan_says_and_every_window_is_on_disk(built: Path) -> None:
    import smolmix
    import smoltok

    plan = smolmix.load_plan(built / "build/sample/plans/trial")
    drawn = [plan.at(index) for index in range(200)]
    assert Counter(sample.source for sample in drawn) == COUNTS
    assert len(set(drawn)) == 200
    shards = sorted((built / "build/sample/tokens/llama-3.2/topics").glob("*.ds"))
    for index, sample in enumerate(drawn):
        assert plan.index_of(sample.source, sample.pass_, sample.shard, sample.window) == index
        if sample.source == "topics":
            tokens = shards[sample.shard].stat().st_size // 4
            assert (sample.window + 1) * 129 <= tokens
    assert sum(len(ids) + 1 for _, ids in smoltok.read_shard(shards[0])) == shards[0].stat().st_size // 4


def test_no_validation_text_is_trained_on(built: Path) -> None:
    import duckdb

    catalog = duckdb.connect(str(built / "build/catalog.duckdb"), read_only=True)
    catalog.execute("SET file_search_path = ?", [str(built / "build")])
    counts = dict(catalog.execute("SELECT split, count(*) FROM documents GROUP BY split").fetchall())
    assert counts["validation"] > 0
    twice = "SELECT source, id FROM documents GROUP BY ALL HAVING count(DISTINCT split) > 1"
    assert catalog.execute(twice).fetchall() == []


def test_the_report_and_the_catalog_say_what_the_documents_are(built: Path) -> None:
    import duckdb

    from tests.mixtures.test_report import Page

    page = (built / "build/report.html").read_text("utf-8")
    tables = Page(page).tables
    shown = {row[0]: row[1:3] for row in tables["Rows read, kept and dropped: the numbers"][1:]}
    written = {
        name: sum(len(file.read_bytes().splitlines()) for file in (built / name).glob("*.jsonl"))
        for name in COUNTS
    }
    assert {name: int(read) for name, (read, _) in shown.items()} == written
    with duckdb.connect(str(built / "build/catalog.duckdb"), read_only=True) as catalog:
        kept = catalog.execute("SELECT source, documents FROM document_statistics WHERE kind = 'total'")
        assert {name: int(kept) for name, (_, kept) in shown.items()} == dict(kept.fetchall())
    lengths = tables["Documents by length in characters: the numbers"][1:]
    assert sum(int(row[1].replace(",", "")) for row in lengths) == sum(
        int(kept) for _, kept in shown.values()
    )
    ids = Page(page).ids
    assert len(ids) == len(set(ids))


def test_a_second_run_has_nothing_to_do_and_says_so(built: Path) -> None:
    before = main_job.outputs(built)
    done = main_job.run(built)
    assert done.returncode == 0
    assert "nothing to do" in done.stdout
    assert main_job.outputs(built) == before


def test_building_again_gives_the_same_bytes(built: Path) -> None:
    before = main_job.outputs(built)
    assert len(before) > 30
    assert main_job.run(built, "--force").returncode == 0
    assert main_job.outputs(built) == before


def test_another_place_and_another_number_of_workers_give_the_same_bytes(built: Path, tmp_path: Path) -> None:
    main_job.lay_out(tmp_path)
    done = main_job.run(tmp_path, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert main_job.outputs(tmp_path) == main_job.outputs(built)


def test_a_run_killed_anywhere_ends_with_the_same_bytes(built: Path, tmp_path: Path) -> None:
    """SIGKILL to all its processes after a moment, again and again; then run to the end."""
    main_job.lay_out(tmp_path)
    chance = random.Random(6)  # noqa: S311 - moments, not secrets
    for _ in range(6):
        process = main_job.start(tmp_path)
        try:
            process.communicate(timeout=chance.uniform(0, 3.5))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    done = main_job.run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert main_job.outputs(tmp_path) == main_job.outputs(built)
    assert list(tmp_path.rglob("*.tmp-*")) == []


def test_ctrl_c_is_clean_in_every_step(built: Path, tmp_path: Path) -> None:
    main_job.lay_out(tmp_path)
    seen = set()
    for delay in (0.0, 0.6, 1.4, 2.4, 3.4):
        process = main_job.start(tmp_path)
        try:
            process.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=120)
        # An interrupt inside an import can make Python end by the signal itself: a shell says 130 to both.
        code = 130 if process.returncode == -signal.SIGINT else process.returncode
        seen.add(code)
        assert "Traceback" not in errors, errors
        if code != 0:
            assert code == 130, errors
            assert "run the same command again" in errors
    assert 130 in seen
    assert main_job.run(tmp_path).returncode == 0
    assert main_job.outputs(tmp_path) == main_job.outputs(built)


def test_ctrl_c_while_modules_are_imported_is_clean(tmp_path: Path) -> None:
    """An interrupt that comes at a given import: moments in time would hit it only by luck."""
    for module in ("typer", "rich.console", "smolmix.planner_cli"):
        script = (
            "import builtins, sys\n"
            "plain = builtins.__import__\n"
            "def importing(name, *rest):\n"
            f"    if name == {module!r}: raise KeyboardInterrupt\n"
            "    return plain(name, *rest)\n"
            "from smolmix import quick\n"
            "builtins.__import__ = importing\n"
            "sys.argv = ['quick', 'build', '--stage', '2']\n"
            "quick.main()\n"
        )
        line = [sys.executable, "-c", script]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 130, done.stderr
        assert done.stderr.startswith("interrupted")
        assert len(done.stderr.splitlines()) == 1


def test_a_second_run_beside_the_first_is_told_to_wait(tmp_path: Path) -> None:
    main_job.lay_out(tmp_path)
    first = main_job.start(tmp_path)
    second = main_job.run(tmp_path)
    assert second.returncode == 1
    assert f"process {first.pid}" in second.stderr
    first.communicate(timeout=120)
    assert first.returncode == 0


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [
        ("topics: 0.55", "topics: 0.45", ["0.9", "weights"]),
        ("sequence_length", "sequence_lenght", ["did you mean", "sequence_length", "trial.yaml"]),
        ("{topics: 0.55}", "{topcs: 0.55}", ["topcs", "did you mean topics"]),
        ("50 steps", "1 token", ["budget"]),
        ("registry: sources.yaml", "registry: none.yaml", ["none.yaml"]),
    ],
)
def test_a_wrong_recipe_is_explained(tmp_path: Path, old: str, new: str, messages: list[str]) -> None:
    recipe = main_job.lay_out(tmp_path)
    recipe.write_text(recipe.read_text().replace(old, new))
    done = main_job.run(tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for message in messages:
        assert message in done.stderr
    assert not (tmp_path / "build" / "catalog.duckdb").exists()


def test_an_unknown_stage_lists_the_valid_ones(tmp_path: Path) -> None:
    line = main_job.command(tmp_path)
    line[line.index("--recipe") : line.index("--recipe") + 2] = ["--stage", "9"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "1, 2, 3, 32k, 64k, mid" in done.stderr


def test_a_source_without_documents_is_named(tmp_path: Path) -> None:
    main_job.lay_out(tmp_path)
    for path in (tmp_path / "numbers").glob("*.jsonl"):
        path.write_text("")
    done = main_job.run(tmp_path)
    assert done.returncode == 2
    assert "numbers" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_shard_changed_after_tokenizing_is_found(tmp_path: Path, built: Path) -> None:
    import shutil

    shutil.copytree(built, tmp_path / "copy")
    folder = tmp_path / "copy"
    assert main_job.run(folder).returncode == 0
    shard = folder / "build/sample/tokens/llama-3.2/stdlib/00000.ds"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    done = main_job.run(folder)
    assert done.returncode == 1
    assert "stdlib/00000.ds changed after tokenizing" in done.stderr
    shard.unlink()
    assert main_job.run(folder).returncode == 0
    assert main_job.outputs(folder) == main_job.outputs(built)


def test_a_full_disk_is_a_clear_error_and_nothing_is_lost(tmp_path: Path, built: Path) -> None:
    """A file-size limit makes the kernel refuse in the middle of a write, as a full disk does."""
    main_job.lay_out(tmp_path)
    limited = ["prlimit", "--fsize=200000", *main_job.command(tmp_path, "--workers", "1")]
    done = subprocess.run(
        limited, cwd=tmp_path, env=main_job.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    done = main_job.run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert main_job.outputs(tmp_path) == main_job.outputs(built)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of its own, which a test can fill and make read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=False).returncode:
        pytest.skip("mounting needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def _remount(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", disk], check=True)


@pytest.mark.system
def test_a_disk_that_is_full_in_every_step_loses_nothing(
    tmp_path: Path, small_disk: Path, built: Path
) -> None:
    """The disk grows a little each time: documents, tokens, plan, catalog, report are refused in turn."""
    main_job.lay_out(tmp_path)
    (tmp_path / "build").symlink_to(small_disk)
    refused = set()
    for kilobytes in [300, 700, 1000, 1600, 2000, *range(2400, 4800, 150)]:
        _remount(small_disk, f"size={kilobytes}k")
        done = main_job.run(tmp_path, "--workers", "1")
        assert "Traceback" not in done.stderr, done.stderr
        assert [path for path in small_disk.rglob("*.tmp-*") if path.stat().st_size] == []
        if done.returncode == 0:
            break
        assert done.returncode == 1
        assert "the disk is full" in done.stderr, done.stderr
        refused.add(done.stderr.rpartition("cannot write ")[2].partition(":")[0])
    assert done.returncode == 0, done.stderr
    assert len(refused) >= 3, refused
    assert main_job.outputs(tmp_path) == main_job.outputs(built)


@pytest.mark.system
def test_a_read_only_disk_is_a_clear_error(tmp_path: Path, small_disk: Path) -> None:
    main_job.lay_out(tmp_path)
    (tmp_path / "build").symlink_to(small_disk)
    (small_disk / ".lock").touch()
    for entries in ("with a lock of an earlier run", "with nothing"):
        _remount(small_disk, "ro")
        done = main_job.run(tmp_path)
        assert done.returncode == 1, entries
        assert "the file system is read-only" in done.stderr
        assert "Traceback" not in done.stderr
        _remount(small_disk, "rw")
        (small_disk / ".lock").unlink(missing_ok=True)


def test_a_build_from_the_hub_is_asked_about_first(tmp_path: Path) -> None:
    """Sizes, disk, missing access rights, and no yes: nothing is read. No network is needed to know that."""
    line = [sys.executable, "-m", "smolmix.quick", "build", "--stage", "2", "--profile", "hub"]
    environment = main_job.environment() | {"HF_TOKEN": "", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        line,
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "fineweb-edu" in done.stdout
    assert "GB on disk" in done.stdout
    assert "bigcode/the-stack-v2 is gated" in done.stderr
    assert "YES=1" in done.stderr
    assert not list((tmp_path / "build" / "hub").glob("documents/*"))


def test_a_tokenizer_of_ones_own_goes_through_the_same_door(tmp_path: Path) -> None:
    """A small vocabulary: two bytes a token, its own end-of-document id, and no 128001 anywhere."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    recipe = main_job.lay_out(tmp_path)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(path) for path in (tmp_path / "stdlib").glob("*.jsonl")], trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    choice = "tokenizer: {name: small, path: tokenizer.json}\nsequence_length"
    recipe.write_text(recipe.read_text().replace("sequence_length", choice))
    done = main_job.run(tmp_path)
    assert done.returncode == 0, done.stderr
    plan = _plan(tmp_path)
    known = plan["tokenizer"]
    assert isinstance(known, dict)
    assert (known["name"], known["token_width"], known["vocab_size"], known["eos_id"]) == ("small", 2, 600, 0)
    metadata = tmp_path / "build/sample/tokens/small/stdlib/00000.ds.metadata"
    assert metadata.read_text().splitlines()[0] == "small|2"
    assert "128001" not in (tmp_path / "build/sample/bundles/trial/nanotron.yaml").read_text()
