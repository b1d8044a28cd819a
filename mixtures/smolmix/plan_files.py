"""Plans into their folders: ``plans/<recipe>-<preset>/plan.json`` and ``shards.parquet``.

The shards are written first: a folder with a ``plan.json`` is whole. Same plan, same bytes.
"""

from pathlib import Path

from smoldata.files import write_json
from smolmix.plan import Plan
from smolmix.shard_table import write_shards


def plan_folder_name(name: str, preset: str | None) -> str:
    """Return the name of a plan's folder: the recipe's name, and the preset if there is one."""
    return f"{name}-{preset}" if preset else name


def write_plan(plan: Plan, folder: Path) -> Path:
    """Write a plan that was just made; return the path of its ``plan.json``."""
    assert plan.table is not None, "a loaded plan is on disk already"
    path = Path(folder) / "plan.json"
    # Without its plan.json a folder is no plan: remove the old one before its shards change.
    path.unlink(missing_ok=True)
    write_shards(plan.table, Path(folder) / "shards.parquet")
    write_json(path, plan.as_json())
    return path
