"""Counts by source into a Huffman tree of exact rounded lines: which source has the k-th window of a stage.

An inner node over ``n`` windows, ``a`` of them to the left, gives the left child ``floor(a*k/n + 1/2)`` of
its first ``k``. That line rises by 0 or 1 a step and ends at ``a``, so each node splits its sequence in two
without gaps, both ways in closed form::

    left child's j-th window   is the node's  ceil(((j+1)*2n - n) / 2a) - 1
    right child's j-th window  is the node's  floor((2nj + n) / 2b),  b = n - a

At every prefix a child is off its exact share by at most ``(child/n) * (error of the node) + 1/2``; the tree
over (count, name) keeps that small: below 1.68 windows for any counts. Cost: O(s log s) to build;
a look-up takes one multiplication and one division a level, about the entropy of the mixture in levels.
"""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Leaf:
    """A source with its windows in the stage."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class Split:
    """An inner node: the two halves of a sequence of ``count`` windows."""

    left: "Tree"
    right: "Tree"
    count: int

    def left_before(self, k: int) -> int:
        """Return how many of the node's first ``k`` windows go to the left."""
        return (2 * self.left.count * k + self.count) // (2 * self.count)

    def from_left(self, j: int) -> int:
        """Return the place in this node of the left child's ``j``-th window (from 0)."""
        n, a = self.count, self.left.count
        return -((n - (j + 1) * 2 * n) // (2 * a)) - 1

    def from_right(self, j: int) -> int:
        """Return the place in this node of the right child's ``j``-th window (from 0)."""
        n, b = self.count, self.right.count
        return (2 * n * j + n) // (2 * b)


Tree = Leaf | Split


def build_tree(counts: Mapping[str, int]) -> Tree | None:
    """Return the tree over the sources with windows; None if there is none.

    Ties are broken by the name that sorts first in a subtree: the tree depends on nothing but the counts.
    """
    heap: list[tuple[int, str, Tree]] = [
        (count, name, Leaf(name, count)) for name, count in counts.items() if count > 0
    ]
    heapq.heapify(heap)
    while len(heap) > 1:
        count_a, name_a, left = heapq.heappop(heap)
        count_b, name_b, right = heapq.heappop(heap)
        node = Split(left, right, count_a + count_b)
        heapq.heappush(heap, (node.count, min(name_a, name_b), node))
    return heap[0][2] if heap else None


def locate(tree: Tree, k: int) -> tuple[str, int]:
    """Return the source of the stage's ``k``-th window and its place among that source's windows."""
    node = tree
    while isinstance(node, Split):
        before = node.left_before(k)
        if node.left_before(k + 1) > before:
            node, k = node.left, before
        else:
            node, k = node.right, k - before
    return node.name, k


def paths(tree: Tree) -> dict[str, tuple[tuple[Split, bool], ...]]:
    """Return for each source its splits, leaf to root, with True where it stands to the left."""
    found: dict[str, tuple[tuple[Split, bool], ...]] = {}
    stack: list[tuple[Tree, tuple[tuple[Split, bool], ...]]] = [(tree, ())]
    while stack:
        node, above = stack.pop()
        if isinstance(node, Leaf):
            found[node.name] = above
        else:
            stack.append((node.left, ((node, True), *above)))
            stack.append((node.right, ((node, False), *above)))
    return found


def prefix_bounds(tree: Tree) -> dict[str, Fraction]:
    """Return for each source the proved most of ``|drawn - count/total * k|`` over all prefixes ``k``."""
    return {leaf.name: bound for leaf, bound in _bounds(tree)}


def _bounds(tree: Tree) -> Iterator[tuple[Leaf, Fraction]]:
    stack: list[tuple[Tree, Fraction]] = [(tree, Fraction(0))]
    while stack:
        node, bound = stack.pop()
        if isinstance(node, Leaf):
            yield node, bound
            continue
        stack += [
            (child, Fraction(child.count, node.count) * bound + Fraction(1, 2))
            for child in (node.left, node.right)
        ]
