"""Plans into their folders: ``plans/<recipe>-<preset>/plan.json`` and ``shards.parquet``.

The shards are written first: a folder with a ``plan.json`` is whole. Same plan, same bytes.
"""

import json
from pathlib import Path

from smoldata.errors import InputError
from smoldata.files import write_json
from smolmix.plan import Plan, load_plan
from smolmix.shard_table import write_shards


def plan_folder_name(name: str, preset: str | None) -> str:
    """Return the name of a plan's folder: the recipe's name, and the preset if there is one."""
    return f"{name}-{preset}" if preset else name


def plan_label(plan: Plan) -> str:
    """Return what the catalog calls a plan: the name of its folder (a replanned stage has its own)."""
    return plan.folder.resolve().name if plan.folder else plan_folder_name(plan.name, plan.preset)


def write_plan(plan: Plan, folder: Path) -> Path:
    """Write a plan that was just made; return the path of its ``plan.json``."""
    assert plan.table is not None, "a loaded plan is on disk already"
    path = Path(folder) / "plan.json"
    # Without its plan.json a folder is no plan: remove the old one before its shards change.
    path.unlink(missing_ok=True)
    write_shards(plan.table, Path(folder) / "shards.parquet")
    if plan.changes is not None:
        from smolmix.replacements import write_changes

        write_changes(plan.changes, Path(folder))
    write_json(path, plan.as_json())
    return path


def load_chain(folder: Path) -> list[Plan]:
    """Return a plan and all that it follows, in the order of training; earlier ones lie in sibling folders.

    Raises:
        InputError: a plan that it follows is not there, or was planned anew since.
    """
    plans = [load_plan(folder)]
    while (before := plans[0].follows) is not None:
        siblings = sorted(Path(folder).resolve().parent.glob("*/plan.json"))
        found = next((path for path in siblings if _lock_hash(path) == before.lock.partition("@")[0]), None)
        if found is None:
            raise InputError(
                f"{folder} follows {before.name!r} with lock {before.lock[:12]}, not beside it; plan again"
            )
        plans.insert(0, load_plan(found))
    return plans


def _lock_hash(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["lock"]["hash"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
