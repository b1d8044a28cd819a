"""Counts of right answers among samples -> pass@k, and the mean of the first n.

pass@k is the unbiased estimator of Chen et al. 2021 (https://arxiv.org/abs/2107.03374): of n samples with c
right ones, the chance that k drawn without replacement hold a right one. For k = 1 it is c / n, the plain
mean, which is what lighteval's ``pass@1:n_samples`` gives.
"""

from collections.abc import Iterable, Sequence
from math import comb


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Return the chance that ``k`` of ``samples`` hold one of the ``right`` ones."""
    if not 0 <= right <= samples or not 1 <= k <= samples:
        raise ValueError(
            f"pass@{k} of {samples} samples, {right} right: want right <= samples and k <= samples"
        )
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def sample_counts(samples: int) -> tuple[int, ...]:
    """Return the numbers of samples that scores are given for: powers of 2 (1, 4, 8, ...), and all.

    These are the published task list's: 1, 4, 8, 16, 32, 64.
    """
    powers = [1, *(1 << power for power in range(2, samples.bit_length()))]
    return tuple(sorted({count for count in powers if count <= samples} | {samples}))


def means(scores: Sequence[float], counts: Iterable[int]) -> list[float]:
    """Return the mean of the first n scores for each n."""
    return [sum(scores[:count]) / count for count in counts]
