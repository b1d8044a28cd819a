"""Sources -> findings: licences that ask for a decision, revisions that are not pinned or have moved.

Without a network: what the registry states. With one (``online``): each dataset's newest commit against the
one that is pinned, and against the one that was built (``origin.json`` beside the documents). An error is
what was forbidden or is gone; the rest are warnings and notes. Cost: a request a dataset when online.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from smoldata.errors import SourceError
from smoldata.licences import LicenceClass, classes_of, gated
from smoldata.registry import Hub, Source

ORIGIN: Final = "origin.json"
Severity = Literal["info", "warning", "error"]
Newest = Callable[[str, str | None], str | None]
"""(dataset, revision or None for the newest) -> its commit; None: there is none such."""
_MEANING: Final[dict[LicenceClass, str]] = {
    "non-commercial": "may not be used commercially",
    "no-derivatives": "may not be passed on changed",
    "share-alike": "may be passed on under the same licence only",
    "copyleft": "is under a copyleft licence",
    "proprietary": "is under a licence that is not open",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about a source."""

    code: str
    severity: Severity
    source: str
    message: str
    fix: str


def lint_sources(
    sources: Sequence[Source],
    *,
    forbidden: Sequence[LicenceClass] = (),
    documents: Path | None = None,
    newest: Newest | None = None,
) -> list[Finding]:
    """Return the findings of sources, in their order; ``documents`` is the folder of what was built."""
    found = [finding for source in sources for finding in _licence(source, forbidden)]
    for source in sources:
        if source.hub is not None and source.location is None:
            built = _built_revision(documents / source.name) if documents is not None else None
            found += _revision(source.name, source.hub, built, newest)
    return found


def _licence(source: Source, forbidden: Sequence[LicenceClass]) -> Iterator[Finding]:
    held = gated([(source.name, source.licence)], forbidden) if not source.columns.license else []
    for row in held:
        stated = row.licence or "none stated"
        yield Finding(
            "licence-forbidden",
            "error",
            source.name,
            f"{source.name}: its licence ({stated}) is {', '.join(row.classes)}, which is forbidden",
            "leave the source out, or state its licence in a registry of your own",
        )
    if held:
        return
    for one in sorted(classes_of(source.licence)):
        if one == "unknown":
            yield _unknown(source)
        elif one in _MEANING:
            message = f"{source.name}: {source.licence} {_MEANING[one]}"
            yield Finding(f"licence-{one}", "warning", source.name, message, "see that your use fits it")


def _unknown(source: Source) -> Finding:
    stated = f"{source.licence!r} is not recognised" if source.licence else "none is stated"
    if source.columns.license:
        return Finding(
            "licence-by-document",
            "info",
            source.name,
            f"{source.name}: each document states its own licence, in {source.columns.license}",
            "forbid classes with --forbid-licences: such documents are dropped and counted",
        )
    return Finding(
        "licence-unknown",
        "warning",
        source.name,
        f"{source.name}: its licence is unknown: {stated}",
        "read the dataset's page and give `licence` in a registry of your own",
    )


def _revision(name: str, hub: Hub, built: str | None, newest: Newest | None) -> Iterator[Finding]:
    if hub.revision is None:
        yield Finding(
            "revision-unpinned",
            "info",
            name,
            f"{name}: no revision of {hub.dataset} is pinned; the newest is read"
            + (f", {built}" if built else ""),
            "give hub.revision in a registry of your own",
        )
    elif built is not None and built != hub.revision:
        yield _moved(name, hub, f"the documents are of {built}, the registry pins {hub.revision}")
    if newest is None:
        return
    now = newest(hub.dataset, None)
    if now is None or (hub.revision is not None and newest(hub.dataset, hub.revision) is None):
        wanted = f" at {hub.revision}" if now is not None else ""
        message = f"{name}: the hub has no {hub.dataset}{wanted} any more"
        yield Finding("revision-gone", "error", name, message, "look for where it went, and pin that")
    elif (before := built or hub.revision) is not None and before != now:
        yield _moved(name, hub, f"{before} was read or pinned, the newest is {now}")


def _moved(name: str, hub: Hub, what: str) -> Finding:
    return Finding(
        "revision-moved",
        "warning",
        name,
        f"{name}: {hub.dataset} has moved: {what}",
        "build again at the revision that you want, and pin it",
    )


def _built_revision(folder: Path) -> str | None:
    try:
        revision = json.loads((folder / ORIGIN).read_bytes())["revision"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return str(revision) if revision else None


def revision_of(addresses: Sequence[str]) -> str | None:
    """Return the commit in the addresses of raw files (``hf://datasets/owner/name@commit/path``)."""
    for address in addresses:
        name, at, rest = address.removeprefix("hf://datasets/").partition("@")
        if at and address.startswith("hf://datasets/") and name.count("/") == 1:
            return rest.partition("/")[0]
    return None


def hub_newest(endpoint: str | None = None) -> Newest:
    """Return what asks the hub (or one like it at ``endpoint``).

    It raises SourceError where the hub cannot be reached.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    api = HfApi(endpoint=endpoint)

    def newest(dataset: str, revision: str | None) -> str | None:
        try:
            return str(api.dataset_info(dataset, revision=revision).sha)
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None
        except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
            raise SourceError(
                f"cannot ask the hub for {dataset} ({type(error).__name__}: {error}); "
                "is there a network? Without --online the registry alone is looked at"
            ) from error

    return newest
