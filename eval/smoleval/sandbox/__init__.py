"""Programs that a model wrote -> what they did, with nothing else on the machine touched.

One program is one pair of processes in namespaces of its own (user, mount, process, network, IPC, host name):
no network, an empty file system with a small scratch folder in memory, the Python runtime read-only, no
capabilities, a system-call filter, limits. A verdict on tests is reached in a second sandbox that the
program cannot see. Cost: 60 ms of CPU a program, 190 ms a verdict (two cores under full load).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoleval.sandbox.judging import Case as Case
    from smoleval.sandbox.judging import Verdict as Verdict
    from smoleval.sandbox.judging import judge as judge
    from smoleval.sandbox.judging import judge_many as judge_many
    from smoleval.sandbox.limits import Limits as Limits
    from smoleval.sandbox.limits import Outcome as Outcome
    from smoleval.sandbox.limits import SandboxError as SandboxError
    from smoleval.sandbox.runner import probe as probe
    from smoleval.sandbox.runner import run as run

_HOME = {
    "Case": "smoleval.sandbox.judging",
    "Limits": "smoleval.sandbox.limits",
    "Outcome": "smoleval.sandbox.limits",
    "SandboxError": "smoleval.sandbox.limits",
    "Verdict": "smoleval.sandbox.judging",
    "judge": "smoleval.sandbox.judging",
    "judge_many": "smoleval.sandbox.judging",
    "probe": "smoleval.sandbox.runner",
    "run": "smoleval.sandbox.runner",
}
__all__ = ["Case", "Limits", "Outcome", "SandboxError", "Verdict", "judge", "judge_many", "probe", "run"]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'smoleval.sandbox' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
