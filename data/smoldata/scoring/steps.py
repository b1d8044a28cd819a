"""Scorers as steps of a pipeline: each adds named scores to ``scores`` and drops nothing.

``encoder_score``, ``embedding_score``, ``fasttext_score`` and ``language_id`` are their names in a recipe;
the step ``score`` drops by a threshold later. Documents are read ahead a block at a time and come out in
their order. A build that was stopped asks the model again for the tasks that were not done, and for no other.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from pydantic import Field, model_validator

from smoldata.errors import InputError
from smoldata.files import xxh3_128
from smoldata.scoring import encoder, fasttext_models
from smoldata.scoring.published import HEADS, HQ
from smoldata.steps import FILTER_REASON, StepContext, StepSettings, find_path

Score = Callable[[Sequence[str]], list[dict[str, float]]]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
_BLOCK: Final = 1024


class ScoreStep(PipelineStep):  # type: ignore[misc] # datatrove ships no types
    """Adds to each document the scores that ``score`` gives its text."""

    type = "📊 - SCORE"

    def __init__(self, name: str, score: Score, block: int = _BLOCK) -> None:
        """Score ``block`` documents at a time."""
        super().__init__()
        self.name, self.score, self.block = name, score, block

    def run(self, data: Any, _rank: int = 0, _world_size: int = 1) -> Iterator[Document]:
        """Yield every document, scored, in order."""
        pending: list[Document] = []
        for document in data:
            pending.append(document)
            if len(pending) == self.block:
                yield from self._scored(pending)
                pending = []
        yield from self._scored(pending)

    def _scored(self, documents: list[Document]) -> Iterator[Document]:
        if not documents:
            return
        for document, new in zip(documents, self.score([one.text for one in documents]), strict=True):
            scores = dict(document.metadata.get("scores", ())) | new
            document.metadata["scores"] = sorted(scores.items())
            yield document


class EncoderSettings(StepSettings):
    """An encoder with a regression head."""

    name: str
    """Of the score; ``<name>_int`` is the rounded one."""
    model: str
    """A name of smoldata.scoring.published, a repository on the hub, or a folder."""
    revision: str | None = None
    """Commit on the hub."""
    max_length: int | None = Field(default=None, ge=8)
    device: str = "auto"
    batch: int = Field(default=encoder.BATCH, ge=1)

    def content(self, base: Path) -> list[str]:
        """Return the digests of a local model's files."""
        folder = find_path(base, self.model)
        return [xxh3_128(path) for path in sorted(folder.glob("*")) if path.is_file()]


def encoder_score(settings: EncoderSettings, context: StepContext) -> ScoreStep:
    """Return the step that scores texts with an encoder."""
    model, revision, length = settings.model, settings.revision, settings.max_length
    if model in HEADS:
        head = HEADS[model]
        model, revision, length = head.model, revision or head.revision, length or head.max_length
    if find_path(context.base, model).is_dir():
        model = str(find_path(context.base, model))
    elif revision is None:
        raise InputError(f"encoder_score: {model} is on the hub: give the `revision` (a commit) to be used")

    def score(texts: Sequence[str]) -> list[dict[str, float]]:
        loaded = encoder.load(model, revision, settings.device, length)
        found = loaded.scores(texts, settings.batch)
        return [{settings.name: one, f"{settings.name}_int": float(encoder.int_score(one))} for one in found]

    return ScoreStep(settings.name, score)


class EmbeddingSettings(StepSettings):
    """An encoder with a head over the mean of its tokens."""

    name: str
    """Of the score, a probability."""
    head: str
    """File of the head: PyTorch's format or safetensors."""
    sha256: Sha256
    """Of the head."""
    model: str = HQ.model
    """A repository on the hub, or a folder."""
    revision: str | None = HQ.revision
    """Commit on the hub."""
    max_length: int = Field(default=HQ.max_length, ge=8)
    device: str = "auto"
    batch: int = Field(default=encoder.BATCH, ge=1)

    def content(self, base: Path) -> list[str]:
        """Return the digests of a local encoder's files; the head's is a setting."""
        folder = find_path(base, self.model)
        return [xxh3_128(path) for path in sorted(folder.glob("*")) if path.is_file()]


def embedding_score(settings: EmbeddingSettings, context: StepContext) -> ScoreStep:
    """Return the step that scores texts as FineWeb2-HQ's classifiers do."""
    from smoldata.scoring import pooled

    model, head = settings.model, find_path(context.base, settings.head)
    if find_path(context.base, model).is_dir():
        model = str(find_path(context.base, model))
    elif settings.revision is None:
        raise InputError(f"embedding_score: {model} is on the hub: give the `revision` (a commit) to be used")
    revision = None if Path(model).is_dir() else settings.revision
    pooled.read_head(head, settings.sha256)  # what is wrong with it is told before any work

    def score(texts: Sequence[str]) -> list[dict[str, float]]:
        loaded = pooled.load_pooled(
            model, revision, head, settings.sha256, settings.device, settings.max_length
        )
        return [{settings.name: one} for one in loaded.scores(texts, settings.batch)]

    return ScoreStep(settings.name, score)


class FastTextSettings(StepSettings):
    """A fastText classifier."""

    name: str
    """Of the score."""
    model: str
    """File, in the recipe's folder or anywhere."""
    sha256: Sha256
    label: str = "__label__hq"
    """The label whose probability is the score."""


def fasttext_score(settings: FastTextSettings, context: StepContext) -> ScoreStep:
    """Return the step that scores texts with a fastText classifier."""
    path, label = find_path(context.base, settings.model), settings.label
    fasttext_models.load(path, settings.sha256, [label])  # what is wrong with it is told before any work

    def score(texts: Sequence[str]) -> list[dict[str, float]]:
        # Loaded once a process; a step that is sent to another carries the path only.
        model = fasttext_models.load(path, settings.sha256, [label])
        return [{settings.name: model.probability(text, label)} for text in texts]

    return ScoreStep(settings.name, score)


class LanguageSettings(StepSettings):
    """A fastText language identifier: lid.176, GlotLID or one like them."""

    model: str
    sha256: Sha256
    languages: list[str] = Field(default_factory=list)
    """Labels to keep, without their prefix; empty: all."""
    least: float = Field(default=0.0, ge=0, le=1)
    """Probability from which a document is kept; FineWeb: 0.65."""

    @model_validator(mode="after")
    def _bare(self) -> "LanguageSettings":
        if any(name.startswith("__label__") for name in self.languages):
            message = "give languages without __label__"
            raise ValueError(message)
        return self


class LanguageStep(PipelineStep):  # type: ignore[misc]
    """Adds ``language_score``, and ``language_id`` in the metadata; drops other languages as ``language``."""

    type = "🌍 - LANGUAGE"
    name = "language_id"

    def __init__(self, settings: LanguageSettings, model: fasttext_models.FastText) -> None:
        """Identify with ``model``."""
        super().__init__()
        self.settings, self.model = settings, model

    def run(self, data: Any, _rank: int = 0, _world_size: int = 1) -> Iterator[Document]:
        """Yield documents in the wanted languages."""
        wanted = set(self.settings.languages)
        for document in data:
            label, probability = self.model.best(document.text)
            scores = dict(document.metadata.get("scores", ())) | {"language_score": probability}
            document.metadata["scores"] = sorted(scores.items())
            document.metadata.setdefault("extra", {})["language_id"] = label
            if (wanted and label not in wanted) or probability < self.settings.least:
                document.metadata[FILTER_REASON] = "language"
            else:
                yield document


def language_id(settings: LanguageSettings, context: StepContext) -> LanguageStep:
    """Return the step that identifies languages."""
    wanted = [f"__label__{name}" for name in settings.languages]
    path = find_path(context.base, settings.model)
    return LanguageStep(settings, fasttext_models.load(path, settings.sha256, wanted))
