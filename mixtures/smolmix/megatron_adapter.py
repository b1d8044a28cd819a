"""Megatron's ``GPTDataset`` over an export, in the order of the plan: sample i is window i.

Stock ``GPTDataset`` shuffles documents and samples anew and cuts them with one id of overlap; the subclass
replaces that index and keeps everything else (masks, positions, batches). No index is built: start-up reads
the ``.idx`` header. Tested with megatron-core 0.16.1.
"""

from typing import Any

import numpy as np


def ordered_gpt_dataset() -> type[Any]:
    """Return a subclass of megatron-core's ``GPTDataset``; megatron-core must be installed."""
    from megatron.core.datasets.gpt_dataset import GPTDataset

    return type("OrderedGPTDataset", (_Ordered, GPTDataset), {})


class _Ordered:
    """Replaces the three indices of ``GPTDataset``."""

    dataset: Any
    indices: Any
    config: Any

    def _build_document_sample_shuffle_indices(self) -> tuple[None, None, None]:
        lengths = self.dataset.sequence_lengths
        wanted = self.config.sequence_length + 1
        if len(lengths) and int(lengths[0]) != wanted:
            raise ValueError(
                f"windows of {int(lengths[0])} ids, but sequence length {wanted - 1}: set it to fit"
            )
        return None, None, None

    def __len__(self) -> int:
        return len(self.indices)

    def _query_document_sample_shuffle_indices(self, idx: int) -> tuple[Any, Any]:
        sequence = int(self.indices[idx])
        return self.dataset[sequence].astype(np.int64), np.array([sequence], np.int64)
