"""A plan as a table that a person can read: one row a source, in the recipe's groups, and their totals."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from smoldata import console
from smolmix.findings import Finding
from smolmix.literals import decimal_text, fraction_text
from smolmix.plan import Plan, SourcePlan

TEXT = ("source", "group")
NUMBERS = ("published", "weight", "percent", "windows", "tokens", "passes", "before", "shards")
_LONGEST_FRACTION = 24
_SHOWN_FINDINGS = 8
_ASK_FINDINGS = 'make sql Q="SELECT severity, source, message FROM findings"'
_GRAVITY = ("error", "warning", "info")


def print_plan(plan: Plan, *, findings: int = _SHOWN_FINDINGS) -> None:
    """Print a plan to standard output: headline, sources, totals by group, the gravest findings."""
    console.table(_title(plan), [*TEXT, *NUMBERS], list(_rows(plan)), right=NUMBERS)
    _print_totals(plan)
    _print_findings(plan, findings)


def _title(plan: Plan) -> str:
    stage = f"{plan.name} ({plan.preset})" if plan.preset else plan.name
    first, last = plan.start_step + 1, plan.start_step + plan.steps
    size = f"{plan.steps:,} steps x {plan.batch_windows} windows x {plan.sequence_length:,}"
    bound = decimal_text(plan.weight_bound, 3)
    lines = (
        f"{stage}, profile {plan.profile}: {plan.tokens:,} tokens = {size}; steps {first:,} to {last:,}",
        f"budget: {plan.budget.why}; remainder {plan.budget.remainder_tokens:,} tokens",
        f"proved: at no step is a source more than {bound} windows off its exact weight",
    )
    return "\n".join(lines)


def _in_order(plan: Plan) -> list[SourcePlan]:
    return sorted(plan.sources, key=lambda one: (one.group, -one.published_weight, one.name))


def _rows(plan: Plan) -> Iterator[Sequence[object]]:
    for one in _in_order(plan):
        absent = one.status == "absent"
        yield (
            one.name,
            one.group,
            _percent(one.published_weight),
            "absent" if absent else _exact(one.weight),
            _percent(one.weight),
            f"{one.windows:,}",
            f"{one.tokens:,}",
            "" if absent else _passes(one.passes),
            "" if absent else _passes(one.passes_before),
            f"{one.shards:,}" if one.status == "present" else one.status.replace("_", " "),
        )


def _percent(share: Fraction) -> str:
    return f"{decimal_text(100 * share, 4)} %"


def _exact(weight: Fraction) -> str:
    text = fraction_text(weight)
    return text if len(text) <= _LONGEST_FRACTION else f"p/q of {len(text) - 1} digits"


def _passes(passes: Fraction | None) -> str:
    return "unknown" if passes is None else decimal_text(passes, 3)


def _print_totals(plan: Plan) -> None:
    groups = sorted({one.group for one in plan.sources} | {one.domain for one in plan.sources} - {""})
    rows = []
    for group in groups:
        members = [one for one in plan.sources if one.group == group or one.group.startswith(f"{group}/")]
        published = sum((one.published_weight for one in members), Fraction(0))
        weight = sum((one.weight for one in members), Fraction(0))
        present = sum(one.status != "absent" for one in members)
        windows, tokens = sum(one.windows for one in members), sum(one.tokens for one in members)
        counts = f"{present} of {len(members)}"
        exact = fraction_text(weight)
        rows.append(
            (group, _percent(published), exact, _percent(weight), f"{windows:,}", f"{tokens:,}", counts)
        )
    names = ("group", "published", "weight", "percent", "windows", "tokens", "sources")
    console.table("", names, rows, right=names[1:])


def _print_findings(plan: Plan, most: int) -> None:
    """Print one line a kind of finding, the gravest first; further sources of a kind are named behind it."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for one in sorted(plan.findings, key=lambda one: _GRAVITY.index(one.severity)):
        kinds.setdefault((one.severity, one.code), []).append(one)
    for (severity, _), found in list(kinds.items())[:most]:
        others = ", ".join(str(one.source) for one in found[1:])
        more = f" (and {len(found) - 1} more: {others})" if others else ""
        console.out.print(
            f"{severity}: {found[0].message}; {found[0].fix}{more}", markup=False, soft_wrap=True
        )
    console.out.print(f"{len(plan.findings)} findings in all: {_ASK_FINDINGS}", markup=False, soft_wrap=True)
