"""What `smoldata train-classifier` records -> a model card in Markdown: generated, never typed."""

from collections.abc import Mapping
from typing import Any


def card(record: Mapping[str, Any]) -> str:
    """Return the card of a classifier; ``record`` is what ``classifier.json`` holds."""
    held = record["held_out"]
    [(goal, value)] = record["target"].items()
    library = "fasttext" if record["kind"] == "fasttext" else "transformers"
    step = _fasttext_step(record) if record["kind"] == "fasttext" else _encoder_step()
    return f"""---
library_name: {library}
pipeline_tag: text-classification
tags: [data-curation, quality-classifier]
---
# A classifier of documents

Trained by `smoldata train-classifier` on {record["documents"] - held["documents"]:,} documents;
{record["positive"]:,} of all {record["documents"]:,} are positive.

| on {held["documents"]:,} held-out documents (hash of the text below {held["share"]:g}) | |
|---|---|
| threshold | {record["threshold"]:.6g} (target: {goal} {value:g}) |
| precision | {held["precision"]:.4f} |
| recall | {held["recall"]:.4f} |
| share kept | {held["kept"]:.4f} |
| average precision | {held["average_precision"]:.4f} |

![precision over recall](curve.svg)

Held-out documents are of the same origin as the training documents: on other text it may do worse. What is
"positive" is what the labels say, nothing more.

As steps of a pipeline:

```yaml
{step}  - step: score
    settings: {{name: quality, at_least: {record["threshold"]:.6g}}}
```
"""


def _fasttext_step(record: Mapping[str, Any]) -> str:
    return f"""  - step: fasttext_score
    settings:
      name: quality
      model: model.bin
      sha256: {record["files"]["model.bin"]}
      label: {record["label"]}
"""


def _encoder_step() -> str:
    return """  - step: encoder_score
    settings: {name: quality, model: encoder}
"""
