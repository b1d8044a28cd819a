"""Builds beyond one machine: datatrove's Ray and Slurm executors, with the same documents as here.

:class:`BuildTasks` runs the tasks that fall to its rank, every ``world_size``-th of a list that all ranks
share; :class:`PublishSources`, one task that depends on it, merges and writes the manifests. How the work is
split does not change a byte: the tasks are the build's own. A rank that is killed is run again, or the whole
command is: finished tasks are kept.

    executor = SlurmPipelineExecutor([BuildTasks(jobs)], tasks=500, ...)
    SlurmPipelineExecutor([PublishSources(jobs)], tasks=1, depends=executor, ...).run()
"""

import difflib
import inspect
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from datatrove.pipeline.base import PipelineStep

from smoldata.build import Job, Runner, is_staged, publish, task_pipeline
from smoldata.console import say
from smoldata.errors import InputError, StorageError

Kind = Literal["ray", "slurm"]


def all_tasks(jobs: Sequence[Job]) -> list[tuple[Job, int]]:
    """Return every (job, task), in an order that all ranks share."""
    return [(job, task) for job in jobs for task in range(job.tasks)]


class BuildTasks(PipelineStep):  # type: ignore[misc] # datatrove ships no types
    """Runs this rank's tasks; takes no documents from a step before it. Running a rank twice is safe."""

    name = "documents"
    type = "smoldata"

    def __init__(self, jobs: Sequence[Job]) -> None:
        """Run the tasks of ``jobs``."""
        super().__init__()
        self.jobs = tuple(jobs)

    def run(self, _data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[object]:
        """Run every ``world_size``-th task that is not done; yields nothing."""
        for job, task in all_tasks(self.jobs)[rank::world_size]:
            if is_staged(job, task):
                continue
            documents: Any = None
            for step in task_pipeline(job):
                documents = step(documents, task, job.tasks)
            deque(documents, maxlen=0)
            self.stat_update("tasks")
        yield from ()


class PublishSources(PipelineStep):  # type: ignore[misc]
    """Merges what all ranks of :class:`BuildTasks` made. One task."""

    name = "publish"
    type = "smoldata"

    def __init__(self, jobs: Sequence[Job]) -> None:
        """Publish ``jobs``."""
        super().__init__()
        self.jobs = tuple(jobs)

    def run(self, _data: object = None, rank: int = 0, _world_size: int = 1) -> Iterator[object]:
        """Write files and manifests; yields nothing. Raises StorageError if a rank failed."""
        for job in self.jobs if rank == 0 else ():
            missing = [task for task in range(job.tasks) if not is_staged(job, task)]
            if missing:
                raise StorageError(
                    f"{job.source.name}: {len(missing)} of {job.tasks} tasks are not done (the first is "
                    f"{missing[0]}): a rank failed; run the same command again, it does only what is missing"
                )
            publish(job)
        yield from ()


def runner(kind: Kind, options: Mapping[str, str], workers: int) -> Runner:
    """Return what runs jobs on Ray or Slurm; ``options`` are the executor's own, as text.

    Raises:
        InputError: an option that the executor does not have, with close names.
    """
    executor = _executor(kind)
    known = list(inspect.signature(executor.__init__).parameters)[1:]
    for name in options:
        if name not in known or name in {"pipeline", "depends"}:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise InputError(f"datatrove's {executor.__name__} has no option {name!r}{hint}")
    return partial(_run, kind, {name: _value(text) for name, text in options.items()}, workers)


def _run(kind: Kind, options: dict[str, Any], workers: int, jobs: Sequence[Job]) -> None:
    executor = _executor(kind)
    jobs = [_absolute(job) for job in jobs]
    logs = jobs[0].work / "logs"
    options = {"logging_dir": str(logs), **options}
    base = Path(str(options.pop("logging_dir")))
    # Finished tasks are known by their staged files; datatrove's markers say nothing about settings.
    shared: dict[str, Any] = {"skip_completed": False, **options}
    if kind == "slurm":
        # What waits for a rank that failed would wait for ever.
        shared["sbatch_args"] = {**(options.get("sbatch_args") or {}), "kill-on-invalid-dep": "yes"}
    first_options = dict(shared, job_name="documents") if kind == "slurm" else shared
    first = executor(
        [BuildTasks(jobs)],
        tasks=len(all_tasks(jobs)),
        workers=workers,
        logging_dir=str(base / "tasks"),
        **first_options,
    )
    if kind == "ray":
        # As a job that depends on the first, it would wait for ever after a failure.
        import ray

        if not ray.is_initialized():
            ray.init(log_to_driver=False)  # the cluster of RAY_ADDRESS; without one, this machine
        with _ranks_in_their_actors():
            first.run()
        list(PublishSources(jobs).run())
        return
    executor(
        [PublishSources(jobs)],
        tasks=1,
        logging_dir=str(base / "publish"),
        depends=first,
        job_name="publish",
        **shared,
    ).run()
    say(
        f"submitted {len(all_tasks(jobs))} tasks to Slurm; logs in {base}; after a failure run the same "
        "command again"
    )


class RankInActor:
    """Runs ranks in the Ray actor's own process.

    datatrove's runs them in a pool inside the actor, which waits for ever when its process is killed. Here
    the actor dies with the rank, Ray notices, and datatrove runs the rank again (up to three times).
    """

    def get_node_ip(self) -> str:
        """Return the address of the node."""
        import ray

        return str(ray.util.get_node_ip_address())

    def run_for_rank(self, executor: Any, ranks: Sequence[int], node_ips: Sequence[str], node: int) -> Any:
        """Run ``ranks`` one after the other; return datatrove's statistics of the last."""
        os.environ["RAY_NODELIST"] = ",".join(node_ips)
        os.environ["RAY_NODEID"] = str(node)
        stats = None
        for number, rank in enumerate(ranks, 1):
            stats = executor._run_for_rank(rank, number, node_rank=-1)  # noqa: SLF001 - datatrove's entry point
        return stats


@contextmanager
def _ranks_in_their_actors() -> Iterator[None]:
    from datatrove.executor import ray as datatrove_ray

    stock = datatrove_ray.RankWorker
    datatrove_ray.RankWorker = RankInActor
    try:
        yield
    finally:
        datatrove_ray.RankWorker = stock


def _absolute(job: Job) -> Job:
    """Return the job with paths that hold in another working directory."""
    from dataclasses import replace

    inputs = tuple(
        raw if "://" in raw.address else replace(raw, address=str(Path(raw.address).absolute()))
        for raw in job.inputs
    )
    return replace(job, folder=job.folder.absolute(), work=job.work.absolute(), inputs=inputs)


def _executor(kind: Kind) -> Any:
    try:
        if kind == "ray":
            from datatrove.executor.ray import RayPipelineExecutor

            return RayPipelineExecutor
        from datatrove.executor import SlurmPipelineExecutor
    except ImportError as error:
        raise InputError(f"--executor {kind} needs ray ({error}); run `make setup-cluster`") from error
    return SlurmPipelineExecutor


def _value(text: str) -> Any:
    """Return an option's value: whole numbers, true, false and null as such, all else as text."""
    if text.isdecimal():
        return int(text)
    return {"true": True, "false": False, "null": None}.get(text.lower(), text)
