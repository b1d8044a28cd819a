"""A fastText model, pinned by sha256, and what it says of a text.

fastText reads one line: the lines of a text are joined by a space, as DCLM does (datatrove's default would
glue them). Of two labels DCLM takes the best one's probability, or one minus it; so does this. Probabilities
can pass 1 by rounding and are cut. Cost: some MB of text a CPU second; the model in memory (DCLM's: 2.4 GB).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from smoldata.errors import InputError, IntegrityError
from smoldata.files import sha256


def one_line(text: str) -> str:
    """Return a text as DCLM's classifier reads it: its stripped lines' ends become spaces."""
    return " ".join(text.strip().splitlines())


@dataclass(frozen=True, slots=True)
class FastText:
    """A loaded model."""

    model: Any
    labels: tuple[str, ...]

    def probability(self, text: str, label: str) -> float:
        """Return how probable ``label`` is for a text, 0 to 1."""
        line = one_line(text)
        if len(self.labels) == 2:  # noqa: PLR2004 - one label against another
            seen, found = self.model.predict(line)
            best = float(found[0]) if len(found) else 0.0
            return _cut(best if seen and seen[0] == label else 1 - best)
        names, found = self.model.predict(line, k=-1)
        return _cut(dict(zip(names, map(float, found), strict=True)).get(label, 0.0))

    def best(self, text: str) -> tuple[str, float]:
        """Return the most probable label, without its prefix, and its probability."""
        names, found = self.model.predict(one_line(text))
        return (names[0].removeprefix("__label__"), _cut(float(found[0]))) if names else ("", 0.0)


def _cut(probability: float) -> float:
    return min(1.0, max(0.0, probability))


def load(path: Path, digest: str, labels: Sequence[str] = ()) -> FastText:
    """Return the model at ``path``, loaded once a process.

    Raises:
        InputError: there is no such file, it is no fastText model, or it lacks one of ``labels``.
        IntegrityError: its sha256 is not ``digest``.
    """
    loaded = _loaded(Path(path), digest)
    missing = [label for label in labels if label not in loaded.labels]
    if missing:
        known = ", ".join(loaded.labels[:8])
        raise InputError(f"{path} has no label {', '.join(missing)}; it has {len(loaded.labels)}: {known}")
    return loaded


@cache
def _loaded(path: Path, digest: str) -> FastText:
    if not path.is_file():
        raise InputError(f"no fastText model at {path}; fetch it and give its path and sha256")
    seen = sha256(path)
    if seen != digest.lower():
        raise IntegrityError(f"{path} has sha256 {seen}, wanted {digest}; fetch it again, or pin this one")
    from fasttext.FastText import _FastText  # load_model would print a warning

    try:
        model = _FastText(model_path=str(path))
        labels = tuple(model.get_labels())
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path} is no fastText classifier: {error}") from error
    return FastText(model, labels)
