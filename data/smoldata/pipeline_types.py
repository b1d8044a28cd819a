"""What a documents pipeline is given: raw files, and where a trial stops. Light to import."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RawInput:
    """A raw file of a source."""

    address: str
    """Where it is read: a local path or an fsspec address."""
    relative: str
    """Its name inside the source, the same on every machine."""
    bytes: int
    digest: str
    """What tells that its content is the same: a hash, an ETag or a revision."""
    licence: str | None


@dataclass(frozen=True, slots=True)
class Limit:
    """Where a trial stops: at the first document at which one of the limits is reached; null is no limit."""

    documents: int | None = None
    bytes: int | None = None
    tokens: int | None = None
    """Estimated at 4 bytes a token: the tokenizer is not asked."""

    def reached(self, documents: int, text_bytes: int) -> bool:
        """Tell whether a limit is reached."""
        limits = ((self.documents, documents), (self.bytes, text_bytes), (self.tokens, text_bytes // 4))
        return any(limit is not None and seen >= limit for limit, seen in limits)

    def is_set(self) -> bool:
        """Tell whether there is any limit."""
        return (self.documents, self.bytes, self.tokens) != (None, None, None)
