"""The Huffman tree of rounded lines: exact, invertible, close to every weight at every prefix."""

from collections import Counter
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from smolmix.tree import Split, Tree, build_tree, locate, paths, prefix_bounds

counts_of = st.lists(st.integers(1, 60), min_size=1, max_size=12).map(
    lambda c: {f"s{i}": n for i, n in enumerate(c)}
)


def ascend(tree: Tree, name: str, j: int) -> int:
    for split, is_left in paths(tree)[name]:
        j = split.from_left(j) if is_left else split.from_right(j)
    return j


@given(counts_of)
def test_every_window_is_drawn_once_and_found_again(counts: dict[str, int]) -> None:
    tree = build_tree(counts)
    assert tree is not None
    drawn: Counter[str] = Counter()
    for k in range(sum(counts.values())):
        name, j = locate(tree, k)
        assert j == drawn[name]
        assert ascend(tree, name, j) == k
        drawn[name] += 1
    assert drawn == counts


@given(counts_of)
def test_every_prefix_is_within_the_proved_bound(counts: dict[str, int]) -> None:
    tree = build_tree(counts)
    assert tree is not None
    bounds, total = prefix_bounds(tree), sum(counts.values())
    drawn = dict.fromkeys(counts, 0)
    for k in range(total):
        drawn[locate(tree, k)[0]] += 1
        for name, count in counts.items():
            assert abs(drawn[name] - Fraction(count, total) * (k + 1)) <= bounds[name]


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=200))
def test_the_bound_is_below_1_68_for_any_counts(counts: list[int]) -> None:
    tree = build_tree({f"s{i}": n for i, n in enumerate(counts)})
    assert tree is not None
    assert max(prefix_bounds(tree).values()) < Fraction(168, 100)


def test_the_bound_of_hostile_counts_is_below_1_68() -> None:
    fibonacci = [1, 1]
    while len(fibonacci) < 80:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    for counts in (fibonacci, [2**i for i in range(90)], [1] * 1000, [10**12, *[1] * 500]):
        tree = build_tree({f"s{i:03}": n for i, n in enumerate(counts)})
        assert tree is not None
        assert max(prefix_bounds(tree).values()) < Fraction(168, 100)


@given(counts_of, st.randoms())
def test_the_order_of_the_input_changes_nothing(counts: dict[str, int], random: object) -> None:
    items = list(counts.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert build_tree(dict(items)) == build_tree(counts)


@settings(max_examples=200)
@given(st.integers(1, 2**62), st.integers(1, 2**62), st.integers(0, 2**63))
def test_a_node_is_invertible_at_any_size(a: int, b: int, k: int) -> None:
    tree = build_tree({"a": a, "b": b})
    assert isinstance(tree, Split)
    k %= a + b
    before = tree.left_before(k)
    if tree.left_before(k + 1) > before:
        assert tree.from_left(before) == k
    else:
        assert tree.from_right(k - before) == k
    assert (tree.left_before(0), tree.left_before(a + b)) == (0, tree.left.count)


def test_sources_without_windows_have_no_place() -> None:
    assert build_tree({"a": 0}) is None
    assert build_tree({"a": 0, "b": 3}) == build_tree({"b": 3})
