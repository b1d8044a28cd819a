"""Blog, released, planned, tokenized and consumed side by side: published figures, and ledgers that lie."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smoldata.errors import InputError
from smoldata.registry import load_registry
from smolmix.plan import Plan
from smolmix.planner import chain, plan_stage
from smolmix.recipe import load_recipe
from smolmix.reconcile import Reconciliation, reconcile
from smolmix.sources import names_of, supply_from_registry


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    last = load_recipe("3")
    supply = supply_from_registry(last, names_of(s.recipe for s in chain(last)), load_registry())
    return plan_stage(last, supply, profile="full")


@pytest.fixture(scope="module")
def table(plans: list[Plan]) -> Reconciliation:
    return reconcile(plans)


def test_the_published_oddities_are_shown(table: Reconciliation) -> None:
    facts = {(fact.stage, fact.what): fact for fact in table.facts}
    sums = [
        facts[stage, "sum of the weights as written"].released for stage in ("stage1", "stage2", "stage3")
    ]
    assert sums == ["1", "1.00005", "1.00565"]
    assert facts["stage2", "steps"].released == "748,000"
    assert facts["stage1", "tokens"].released == "8,139,571,200,000"
    decay = facts[None, "decay (stage 3) of all steps"]
    assert (decay.blog, decay.released) == ("10 %", "522,000 of 4,720,000 (~11.06 %)")


@pytest.mark.parametrize(
    ("stage", "domain", "blog", "released"),
    [
        # Released percentages as reconciled from the published files: 76.396 / 14.524 / 9.080 for stage 2.
        ("stage1", "web", 85, "84.400"),
        ("stage2", "web", 75, "76.396"),
        ("stage2", "code", 15, "14.524"),
        ("stage2", "math", 10, "9.080"),
        ("stage3", "math", 13, "13.186"),
    ],
)
def test_domains_by_column(table: Reconciliation, stage: str, domain: str, blog: int, released: str) -> None:
    row = next(r for r in table.shares if (r.stage, r.domain, r.source) == (stage, domain, None))
    assert row.blog == row.planned == Fraction(blog, 100)
    assert row.released is not None
    assert round(row.released * 100_000) == Fraction(released) * 1000


def test_domains_add_up_to_their_sources(table: Reconciliation, plans: list[Plan]) -> None:
    for plan in plans:
        rows = [row for row in table.shares if row.stage == plan.name]
        for kind in (True, False):
            part = [row for row in rows if (row.source is None) is kind]
            assert sum(row.planned for row in part) == 1
            assert sum(row.windows for row in part) == plan.windows


def ledger(path: Path, names: list[str]) -> Path:
    pq.write_table(pa.table({"source": names}), path)
    return path


def read_by(plan: Plan, windows: int) -> list[str]:
    samples = plan.at_many(np.arange(windows))
    return [samples.names[number] for number in samples.source]


def test_a_true_ledger_is_within_the_bound_and_exact(plans: list[Plan], tmp_path: Path) -> None:
    file = ledger(tmp_path / "ledger.parquet", read_by(plans[1], 12_345))
    verdict = reconcile(plans, {"stage2": file}).verdicts[0]
    assert verdict.exact
    assert verdict.consumed == 12_345
    assert verdict.worst_drift <= verdict.bound


def test_a_ledger_with_one_other_window_is_not_exact(plans: list[Plan], tmp_path: Path) -> None:
    names = read_by(plans[1], 5000)
    names[names.index("dclm")] = "wiki"
    result = reconcile(plans, {"stage2": ledger(tmp_path / "ledger.parquet", names)})
    assert not result.verdicts[0].exact
    drifts = {row.source: row.drift for row in result.shares if row.stage == "stage2"}
    assert drifts["wiki"] is not None
    assert drifts["wiki"] > 0


@pytest.mark.parametrize(
    ("names", "message"), [(["nothing"], "has the source 'nothing'"), (None, "cannot read the ledger")]
)
def test_ledgers_of_something_else(
    plans: list[Plan], tmp_path: Path, names: list[str] | None, message: str
) -> None:
    file = tmp_path / "ledger.parquet"
    if names:
        ledger(file, names)
    with pytest.raises(InputError, match=message):
        reconcile(plans, {"stage2": file})


def test_json_has_text_for_fractions(table: Reconciliation) -> None:
    data = table.as_json()
    row = next(r for r in data["shares"] if r["source"] == "dclm" and r["stage"] == "stage2")
    assert (row["blog"], row["released"]) == ("2079/6470", "2200/6667")
