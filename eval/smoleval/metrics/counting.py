"""Scores of several samples of an item -> pass@1 over the first 1, 4, 8, ... of them.

pass@k (Chen et al. 2021, https://arxiv.org/abs/2107.03374) is the chance that k samples drawn of n hold a
right one; for k = 1 it is right / n, the plain mean, which is what lighteval's ``pass@1:n_samples`` gives.
"""

from collections.abc import Iterable, Sequence


def sample_counts(samples: int) -> tuple[int, ...]:
    """Return the numbers of samples that scores are given for: powers of 2 (1, 4, 8, ...), and all.

    These are the published task list's: 1, 4, 8, 16, 32, 64.
    """
    powers = [1, *(1 << power for power in range(2, samples.bit_length()))]
    return tuple(sorted({count for count in powers if count <= samples} | {samples}))


def means(scores: Sequence[float], counts: Iterable[int]) -> list[float]:
    """Return the mean of the first n scores for each n."""
    return [sum(scores[:count]) / count for count in counts]
