"""The README of an export: how the trainer opens it, and how to prove its stream. Text only."""

from string import Template
from typing import Any, Final

_HEAD: Final = """# $stage for $trainer

Windows $first to $last of the stage, in the order of the plan with lock `$lock`.
A window is $length ids of $tokenizer ($token_dtype): $sequence_length inputs, and the labels one id further.
A step of the stage is $batch windows.

```python
$code
```

$notes

## Proof

The stream must have this digest; `docs/order.md`, "Digest", says how it is computed.

    order   $order
    tokens  $tokens

`smolmix digest` gives it for the plan.
"""

_CODE: Final = {
    "grain": """\
import grain
from smolmix.adapters import RankSteps
from smolmix.exports import open_export

windows = open_export(".")  # this folder
dataset = grain.MapDataset.source(RankSteps(windows, rank=0, world_size=1))""",
    "torchtitan": """\
from smolmix.adapters import TitanWindows

dataset = TitanWindows(".")  # this folder; GrainDataLoader.Config(dataset=dataset, shuffle=False)""",
    "megatron": """\
from smolmix.megatron_adapter import ordered_gpt_dataset

dataset_type = ordered_gpt_dataset()  # instead of GPTDataset; data path: windows""",
    "mds": """\
from streaming import StreamingDataset

dataset = StreamingDataset(local=".", shuffle=False, num_canonical_nodes=1, batch_size=1)""",
}

_NOTES: Final = {
    "grain": "One item is a step of this rank: `ids`, `positions`, `labels` (-100: not trained on), each "
    "[windows, $sequence_length]. `MapDataset.source(windows)` gives single windows. Don't shuffle, "
    "repeat or slice: the rank's share is chosen by `RankSteps`. Grain's own state resumes exactly.",
    "torchtitan": "Set the tokens of a batch to windows a rank x $sequence_length. Don't wrap it in another "
    "dataset: the rank's share is chosen in it. Trainers on torchdata take "
    "`smolmix.torch_adapters.StatefulSteps`, which has `state_dict` and `load_state_dict`.",
    "megatron": "Megatron's own `GPTDataset` shuffles again and joins windows with one id of overlap; the "
    "subclass returns sequence i for sample i. Use one data path (`--split 100,0,0`), sequence length "
    "$sequence_length, no padding id that is a vocabulary id. `windows.bin` and `.idx` open with any "
    "`IndexedDataset`.",
    "mds": "With `num_canonical_nodes=1` and no shuffling each global batch is the next windows of the "
    "order, for any number of nodes, ranks and workers. Set `batch_size` to the windows a rank.",
}


def readme(facts: dict[str, Any]) -> str:
    """Return the README for what ``export.json`` says."""
    digest = facts["digest"]
    values = {
        **{name: facts[name] for name in ("stage", "trainer", "lock", "token_dtype", "sequence_length")},
        "first": f"{digest['first']:,}",
        "last": f"{digest['end'] - 1:,}",
        "length": facts["sequence_length"] + 1,
        "tokenizer": facts["tokenizer"]["name"],
        "batch": f"{facts['batch_windows']:,}",
        "code": _CODE[facts["trainer"]],
        "order": digest["order"],
        "tokens": digest["tokens"],
    }
    values["notes"] = Template(_NOTES[facts["trainer"]]).substitute(values)
    return Template(_HEAD).substitute(values)
