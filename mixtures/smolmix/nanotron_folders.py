"""The folders of a nanotron configuration that are on this machine: what they hold, lose and lack.

nanotron takes ``*.ds`` of a folder (not recursive), ``tokens // (length + 1)`` windows of each file: what is
left at the end of a file is never read, and a file shorter than a window gives none. Cost: a look at the
size of each file; nothing is read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from smolmix.findings import NOTHING_TO_DO, Finding
from smolmix.literals import decimal_text
from smolmix.nanotron_schema import NanotronConfig

MUCH_LOST = Fraction(1, 100)
"""A share of a folder's tokens from which on its remainders are a warning."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What nanotron finds in a local folder."""

    files: int
    windows: int
    tokens: int
    lost_tokens: int
    """Tokens at the ends of files that fill no window."""
    empty_files: int
    """Files without a window."""
    odd_bytes: int
    """Files whose size is no whole number of tokens."""


def look(folder: str, token_bytes: int, sequence_length: int) -> Folder | None:
    """Return what a folder on this machine holds (``*.ds``, not recursive); None: it is not here."""
    path = Path(folder)
    if "://" in folder or not path.is_dir():
        return None
    sizes = [file.stat().st_size for file in path.glob("*.ds")]
    tokens = [size // token_bytes for size in sizes]
    windows = [count // (sequence_length + 1) for count in tokens]
    return Folder(
        len(sizes),
        sum(windows),
        sum(tokens),
        sum(tokens) - sum(windows) * (sequence_length + 1),
        windows.count(0),
        sum(size % token_bytes > 0 for size in sizes),
    )


def look_at_all(config: NanotronConfig) -> dict[str, Folder | None]:
    """Return every folder of every stage, each once."""
    length = config.tokens.sequence_length
    widths = {
        folder: stage.data.dataset.token_size_in_bytes
        for stage in config.data_stages
        for folder in stage.data.dataset.dataset_folder
    }
    return {folder: look(folder, width, length) for folder, width in widths.items()}


def capacity(folders: Mapping[str, Folder | None], needed: Mapping[str, Fraction]) -> Iterator[Finding]:
    """Yield a finding for each folder here that runs out; ``needed`` are the windows of all stages."""
    for name, windows in needed.items():
        folder = folders[name]
        if folder is not None and folder.windows < windows:
            yield Finding(
                "folder-runs-out",
                "error",
                name,
                f"{name} holds {folder.windows:,} windows, the stages draw {decimal_text(windows, 1)}: "
                f"nanotron "
                "does not start again at the beginning, it stops with an IndexError",
                f"link its shards {-(-windows // folder.windows)} times, or lower its weight"
                if folder.windows
                else "put shards there",
            )
    unseen = sum(folder is None for folder in folders.values())
    if unseen:
        yield Finding(
            "folders-not-seen",
            "info",
            None,
            f"{unseen} of {len(folders)} folders are not on this machine: whether they hold enough is open",
            "run the same check where the shards are",
        )


def remainders(folders: Mapping[str, Folder | None], sequence_length: int) -> Iterator[Finding]:
    """Yield findings on tokens that no window holds: one in all, and one a folder that loses much."""
    seen = {name: folder for name, folder in folders.items() if folder is not None and folder.files}
    lost, tokens = (sum(getattr(one, key) for one in seen.values()) for key in ("lost_tokens", "tokens"))
    files, empty = (sum(getattr(one, key) for one in seen.values()) for key in ("files", "empty_files"))
    if lost:
        yield remainder_finding(None, lost, tokens, files, empty, sequence_length)
    for name, folder in seen.items():
        if folder.lost_tokens > MUCH_LOST * folder.tokens:
            yield remainder_finding(
                name, folder.lost_tokens, folder.tokens, folder.files, folder.empty_files, sequence_length
            )
        if folder.odd_bytes:
            yield Finding(
                "broken-width",
                "error",
                name,
                f"{name}: {folder.odd_bytes} of {folder.files} files are no whole number of tokens long; "
                f"either "
                "they are cut off, or token_size_in_bytes is wrong",
                "check token_size_in_bytes against the shards' metadata; `smoltok verify` finds cut shards",
            )


def remainder_finding(
    source: str | None, lost: int, tokens: int, files: int, empty: int, sequence_length: int
) -> Finding:
    """Return the finding on what the ends of files lose; ``source`` None: all of them together."""
    share = Fraction(lost, tokens)
    of = f"{source}: " if source else ""
    none = f", {empty:,} of them without any" if empty else ""
    return Finding(
        "window-remainders",
        "warning" if share > MUCH_LOST else "info",
        source,
        f"{of}{lost:,} of {tokens:,} tokens ({decimal_text(share * 100, 3)} %) stand at the ends of "
        f"{files:,} shards "
        f"and fill no window of {sequence_length + 1:,}{none}: they are never read",
        "make fewer, larger shards of it" if share > MUCH_LOST else NOTHING_TO_DO,
    )


def read_path(stage: str, asked: Mapping[str, int], held: Mapping[str, int]) -> Iterator[Finding]:
    """Yield a finding for each folder at which nanotron's own assertion stops a launch with read paths."""
    for folder, windows in asked.items():
        yield Finding(
            "read-path-capacity",
            "error",
            folder,
            f"stage {stage}: {folder} holds {held[folder]:,} windows; with dataset_read_path nanotron "
            f"asserts "
            f"int(train_steps x batch x weight) = {windows:,}, as if the whole run drew at this weight",
            "leave dataset_read_path away, or link the shards often enough for the whole run",
        )
