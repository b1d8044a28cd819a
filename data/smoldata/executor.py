"""datatrove's local executor, one task a call: logs, statistics and completion as datatrove writes them.

datatrove's own ``run`` starts a pool that waits for ever when a worker is killed, and a manager process that
outlives a killed parent. Here processes are :mod:`smoldata.workers`'; the task itself is run by datatrove.
"""

from typing import Any

from datatrove.executor.local import LocalPipelineExecutor


class TaskExecutor(LocalPipelineExecutor):  # type: ignore[misc] # datatrove ships no types
    """Runs the task ``rank`` of ``tasks`` in this process."""

    def __init__(self, pipeline: list[Any], *, tasks: int, rank: int, logging_dir: str) -> None:
        """Prepare a task; logs and statistics go to ``logging_dir``."""
        # Our staged files say what is done (counts are written last), not datatrove's empty marker.
        super().__init__(
            pipeline,
            tasks=tasks,
            workers=1,
            logging_dir=logging_dir,
            skip_completed=False,
            local_tasks=1,
            local_rank_offset=rank,
        )

    def run(self) -> Any:
        """Run the task; return datatrove's statistics."""
        return self._run_for_rank(self.local_rank_offset, local_rank=1)
