"""Which raw files a source has: the sample's, a user's own, or the hub's, each with its proof.

Own data comes first in every profile; else ``sample`` reads ``build/sample/raw``, ``hub`` lists the dataset
at its pinned revision (or the newest, resolved to a commit).
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from smoldata.errors import SourceError
from smoldata.files import xxh3_128
from smoldata.patterns import matcher
from smoldata.pipeline_types import RawInput
from smoldata.registry import Hub, Location, Registry, Source
from smoldata.sample.records import MANIFEST

_TOKEN_HINT = "log in with `hf auth login` (or set HF_TOKEN) and ask for access on the dataset's page"  # noqa: S105 - a hint, no secret


def list_inputs(source: Source, registry: Registry, profile: str, build: Path) -> list[RawInput]:
    """Return the raw files of a source, sorted by name.

    Raises :class:`SourceError` when there are none: absent from the sample, unpublished, gated, unreachable.
    """
    if source.location is not None:
        inputs = sorted(_own_files(source, source.location), key=lambda raw: raw.relative)
    elif profile == "sample":
        inputs = _sample_files(source, registry, build)
    elif profile == "hub":
        inputs = _hub_files(source)
    else:
        raise SourceError(f"profile {profile!r} has no documents; profiles with documents: sample, hub")
    if not inputs:
        note = f" ({source.note})" if source.note else ""
        raise SourceError(f"{source.name}: no file fits its patterns{note}; check `files` in the registry")
    return inputs


def has_text(source: Source, profile: str) -> bool:
    """Tell whether a source can have documents in a profile."""
    if source.location is not None:
        return True
    return bool(source.sample) if profile == "sample" else source.hub is not None


def _sample_files(source: Source, registry: Registry, build: Path) -> list[RawInput]:
    if not source.sample:
        raise SourceError(
            f"{source.name} is absent from the sample: {source.why_absent or 'no package named'}"
        )
    folder = build / "sample" / "raw" / source.name
    try:
        entries = json.loads((folder / MANIFEST).read_bytes())["files"]
    except FileNotFoundError as error:
        raise SourceError(f"no sample text for {source.name} under {build}; run `smoldata sample`") from error
    licences = {name: package.licence for name, package in registry.packages.items()}
    inputs = []
    for entry in entries:
        path = folder / entry["name"]
        if not path.is_file() or path.stat().st_size != entry["bytes"]:
            raise SourceError(f"{path} is missing or was changed; run `smoldata sample` again")
        package = entry["name"].rsplit("-", 2)[0]
        inputs.append(
            RawInput(str(path), entry["name"], entry["bytes"], entry["xxh3_128"], licences.get(package))
        )
    return inputs


def _own_files(source: Source, location: Location) -> Iterator[RawInput]:
    fits = matcher(location.files)
    if "://" in location.url:
        yield from remote_files(source.name, location.url, fits, source.licence)
        return
    root = Path(location.address())
    if not root.exists():
        raise SourceError(f"{source.name}: no folder or file at {root}")
    if root.is_file():
        yield _own(source, root, root.name)
        return
    for path in root.rglob("*"):
        relative = path.relative_to(root).as_posix()
        if path.is_file() and fits(relative):
            yield _own(source, path, relative)


def _own(source: Source, path: Path, relative: str) -> RawInput:
    return RawInput(str(path), relative, path.stat().st_size, xxh3_128(path), source.licence)


def remote_files(name: str, url: str, fits: Any, licence: str | None) -> Iterator[RawInput]:
    """Yield the files at an fsspec address that fit; raise :class:`SourceError` if it cannot be listed."""
    from fsspec.core import url_to_fs

    try:
        system, root = url_to_fs(url)
        found: dict[str, dict[str, Any]] = system.find(root, detail=True)
    except (OSError, ImportError, ValueError) as error:
        raise SourceError(f"{name}: cannot list {url}: {error}") from error
    for path, info in found.items():
        relative = path.removeprefix(root).lstrip("/") or path.rpartition("/")[2]
        if fits(relative):
            proof = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("created") or ""
            size = int(info.get("size") or 0)
            yield RawInput(system.unstrip_protocol(path), relative, size, f"{size}:{proof}", licence)


def _hub_files(source: Source) -> list[RawInput]:
    if source.hub is None:
        raise SourceError(
            f"{source.name}: its origin is not published; point it at data of your own: a registry file with "
            f'`sources: {{{source.name}: {{location: {{url: …, files: ["*.parquet"]}}}}}}` (--registry)'
        )
    hub = source.hub
    fits = matcher(hub.files)
    sha, files = _list_dataset(hub)
    return [
        RawInput(
            f"hf://datasets/{hub.dataset}@{sha}/{name}", name, size, digest or f"{sha}:{name}", source.licence
        )
        for name, size, digest in sorted(files)
        if fits(name)
    ]


def _list_dataset(hub: Hub) -> tuple[str, Sequence[tuple[str, int, str]]]:
    """Return the commit and (path, bytes, digest) of every file in the folders that the patterns name."""
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    api = HfApi()
    try:
        sha = str(api.dataset_info(hub.dataset, revision=hub.revision).sha)
        files = []
        for folder in {pattern.split("*")[0].rpartition("/")[0] for pattern in hub.files}:
            tree = api.list_repo_tree(
                hub.dataset, folder or None, recursive=True, revision=sha, repo_type="dataset"
            )
            for entry in tree:
                if isinstance(entry, RepoFile):
                    digest = entry.lfs.sha256 if entry.lfs else entry.blob_id
                    files.append((entry.path, entry.size, digest))
    except GatedRepoError as error:
        raise SourceError(f"{hub.dataset} is gated and this account has no access; {_TOKEN_HINT}") from error
    except RepositoryNotFoundError as error:
        raise SourceError(
            f"the hub has no dataset {hub.dataset} that this account may see; {_TOKEN_HINT}"
        ) from error
    except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        raise SourceError(
            f"cannot list {hub.dataset} on the hub ({type(error).__name__}: {error}); "
            "is there a network? `--profile sample` needs none"
        ) from error
    return sha, files
