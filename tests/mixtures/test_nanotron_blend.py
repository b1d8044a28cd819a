"""nanotron's greedy blend: by hand, and against the rule written out in plain Python floats."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldata.errors import InputError
from smolmix.derivation import weights
from smolmix.nanotron_blend import blend, exact_shares, float_error, normalised


def plain(shares: list[float], samples: int) -> list[int]:
    counts, chosen = [0] * len(shares), []
    for sample in range(samples):
        best, largest = 0, float("-inf")
        for number, share in enumerate(shares):
            error = share * max(float(sample), 1.0) - float(counts[number])
            if error > largest:
                best, largest = number, error
        chosen.append(best)
        counts[best] += 1
    return chosen


def test_the_figures_of_a_run_of_nanotron() -> None:
    # Seen with nanotron's compiled helper: .7, .2, .1 over 1,000 samples give exactly 700, 200, 100.
    got = blend([0.7, 0.2, 0.1], 1000)
    assert got.counts.tolist() == [700, 200, 100]
    assert got.folder[:6].tolist() == [0, 1, 0, 2, 0, 0]  # by hand


@settings(max_examples=50)
@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=12), st.integers(0, 300))
def test_it_is_the_rule_of_the_source(given_: list[float], samples: int) -> None:
    got = blend(given_, samples)
    assert got.folder.tolist() == plain(normalised(given_).tolist(), samples)
    assert int(got.counts.sum()) == samples
    for number in range(len(given_)):
        mine = got.place[got.folder == number]
        assert mine.tolist() == list(range(int(got.counts[number])))


def test_counts_follow_the_published_weights() -> None:
    shares = weights("stage2", "released")
    got = blend([float(share) for share in shares.values()], 20_000)
    errors = [
        abs(count - share * 20_000) for count, share in zip(got.counts.tolist(), shares.values(), strict=True)
    ]
    assert max(errors) < 2


def test_float_weights_miss_by_almost_nothing() -> None:
    published = [0.333, 0.37, 0.297]
    assert exact_shares(published) == [Fraction(333, 1000), Fraction(37, 100), Fraction(297, 1000)]
    assert float_error(published, 2 * 10**9) < Fraction(1, 10**5)
    assert float_error(published, 10**18) > 1


@pytest.mark.parametrize("bad", [[0.0, 0.0], [-1.0, 2.0], [1.0] * 32_767])
def test_what_nanotron_would_refuse(bad: list[float]) -> None:
    with pytest.raises(InputError):
        blend(bad, 1)


def test_no_sample_is_an_empty_blend() -> None:
    assert np.array_equal(blend([1.0], 0).counts, [0])
