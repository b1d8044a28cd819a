"""A run's checkpoints, as they appear -> their scores: locally, or as a Slurm job each.

A checkpoint is taken when it is whole: the trainer's are renamed into place, nanotron's are sealed or
examined, and converted first. Each piece of work (a checkpoint and a command of ``smoleval``) is a child
process that writes its own score file; what is done is marked by a file written after it, whole and last. So
a watcher that was killed, or a second one beside it, scores nothing twice and misses nothing: a kill between
score and mark repeats one command, which finds its scores, or writes the same bytes again (held-out loss). A
mark names the checkpoint's files by size and time: weights that were trained anew are scored anew.

The trainer removes old checkpoints. So what is not scored yet is held: linked, not copied, into
``<run>/watched/`` as soon as it is seen, and let go when all is scored. Cost: a stat a checkpoint at each
look.
"""

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from smoldata.console import say
from smoldata.errors import BusyError, InputError, SmolError
from smoldata.files import digest_values, single_writer, write_atomic, write_json
from smoleval.scores import scores_folder, step_of
from smoltrain.folders import atomic_folder, discard

HELDOUT, RULER = "heldout", "ruler:"
HELD = "watched"
"""Folder of a run that holds checkpoints not scored yet."""
_MARK = "done.json"
_MOST_SUBMISSIONS = 3
_CHILD = (
    "from smoldata.workers import watch_parent; watch_parent(); "  # no scoring goes on without its watcher
    "import sys; sys.argv[0] = 'smoleval'; from smoleval.cli import main; main()"
)
Words = tuple[str, ...]
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched, and what is asked of each checkpoint."""

    run: Path
    build: Path
    tasks: tuple[str, ...]
    """``heldout``, ``ruler:<folder of prompts>``, or what ``smoleval run --tasks`` takes."""
    every: int = 1
    """Only checkpoints whose step is a multiple."""
    only: str = ""
    """Only the checkpoint of this name."""
    options: Words = ()
    """Further options of ``smoleval run``."""
    heldout_options: Words = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A command on a checkpoint."""

    checkpoint: Path
    asked: str
    """As ``--tasks`` takes it."""
    words: Words
    key: str
    """Of the checkpoint's files and the command."""
    place: Path
    """Folder of its mark and its lock."""

    @property
    def done(self) -> bool:
        """Return whether it was scored."""
        return (self.place / _MARK).is_file()


def checkpoints(watched: Watched) -> list[Path]:
    """Return the whole checkpoints to score, by step; nanotron's are converted to Hugging Face form first."""
    from smoltrain.checkpoint import complete

    own = {path.name: path for path in complete(watched.run / "checkpoints")}
    own |= {path.name: path for path in complete(watched.run / HELD)}
    found = [path for name, path in sorted(own.items()) if _wanted(watched, name, step_of(path))]
    return found + sorted(_from_nanotron(watched), key=lambda path: (path.parent.name, step_of(path) or 0))


def hold(watched: Watched) -> None:
    """Link the trainer's checkpoints that are not scored yet, so that they stay when it removes them."""
    with _ONE_AT_A_TIME:
        _hold(watched)


def _hold(watched: Watched) -> None:
    for own in (watched.run / "checkpoints").glob("step-*"):
        held = watched.run / HELD / own.name
        with suppress(FileNotFoundError):
            if held.is_dir() and _stats(held) != _stats(own):
                discard(held)  # the run was begun anew
    for checkpoint in {piece.checkpoint for piece in pieces(watched) if not piece.done}:
        if checkpoint.parent.name == "checkpoints":
            with (
                suppress(FileNotFoundError, FileExistsError),
                atomic_folder(watched.run / HELD / checkpoint.name) as folder,
            ):
                for path in _deciding(checkpoint):
                    os.link(path, folder / path.name)


def let_go(watched: Watched) -> None:
    """Remove the links of checkpoints that are scored."""
    found = pieces(watched)
    waiting = {piece.checkpoint for piece in found if not piece.done}
    for checkpoint in {piece.checkpoint for piece in found} - waiting:
        if checkpoint.parent.name == HELD:
            with suppress(FileNotFoundError):
                discard(checkpoint)


@contextmanager
def holding(watched: Watched, every_seconds: float) -> Iterator[None]:
    """Hold new checkpoints in a thread of its own, while others are being scored."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(every_seconds):
            hold(watched)

    thread = threading.Thread(target=work, daemon=True, name="hold-checkpoints")
    hold(watched)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _stats(checkpoint: Path) -> list[list[object]]:
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in _deciding(checkpoint)]


def _deciding(checkpoint: Path) -> list[Path]:
    """Return the files that decide what a checkpoint says: not the optimizer's, nor the record of steps."""
    return [
        path
        for path in sorted(checkpoint.glob("*"))
        if path.suffix in {".safetensors", ".json", ".jinja"} and path.stem not in {"optimizer", "state"}
    ]


def _wanted(watched: Watched, name: str, step: int | None) -> bool:
    return watched.only in ("", name) and (step is None or step % watched.every == 0)


def _from_nanotron(watched: Watched) -> Iterator[Path]:
    """Yield nanotron's whole checkpoints (``checkpoints/<stage>/<step>``) in Hugging Face form."""
    places = [
        path for path in (watched.run / "checkpoints").glob("*/*") if path.is_dir() and path.name.isdecimal()
    ]
    for place in sorted(places, key=lambda path: (path.parent.name, int(path.name))):
        name = f"step-{int(place.name):07d}"
        converted = watched.run / "hf" / place.parent.name / name
        if _wanted(watched, name, int(place.name)):
            if not converted.is_dir() and not _convert(place, converted):
                continue
            yield converted


def _convert(place: Path, converted: Path) -> bool:
    """Convert a checkpoint of nanotron's, if it is whole; its folder appears whole or not at all."""
    from smoltrain.convert import nanotron_to_hf
    from smoltrain.nanotron.checkpoints import fault_of

    if fault_of(place) is not None:
        return False  # still being written: it is seen again at the next look
    with single_writer(converted.parent):
        if not converted.is_dir():
            nanotron_to_hf(place, converted)
    return True


def pieces(watched: Watched) -> list[Piece]:
    """Return all work on the checkpoints that there are, done or not."""
    found = []
    for checkpoint in checkpoints(watched):
        scores = scores_folder(checkpoint, watched.build)
        try:
            files = _stats(checkpoint)
        except FileNotFoundError:
            continue  # the trainer has just removed it
        for asked, options, words in _commands(watched, checkpoint):
            stage = checkpoint.parent.name if checkpoint.parent.name not in {"checkpoints", HELD} else ""
            key = digest_values(str(watched.run.resolve()), stage, checkpoint.name, files, asked, options)[
                :16
            ]
            found.append(Piece(checkpoint, asked, words, key, scores.resolve() / ".watched" / key))
    return found


def _commands(watched: Watched, checkpoint: Path) -> list[tuple[str, Words, Words]]:
    """Return what is asked, the options that decide it, and the command, for each piece of a checkpoint."""
    place, build = str(checkpoint), ("--build", str(watched.build))
    commands: list[tuple[str, Words, Words]] = []
    if HELDOUT in watched.tasks:
        options = (*_bundle(watched, checkpoint), *watched.heldout_options)
        commands.append((HELDOUT, watched.heldout_options, (HELDOUT, place, *build, *options)))
    for task in (task for task in watched.tasks if task.startswith(RULER)):
        prompts = str(Path(task.removeprefix(RULER)).resolve())
        commands.append((f"{RULER}{prompts}", (), ("ruler", "run", place, "--data", prompts, *build)))
    names = ",".join(task for task in watched.tasks if task != HELDOUT and not task.startswith(RULER))
    if names:
        words = ("run", place, "--tasks", names, *build, *watched.options)
        commands.append((names, watched.options, words))
    return commands


def _bundle(watched: Watched, checkpoint: Path) -> Words:
    """Return the bundle's option for a converted checkpoint: its stage's own record names it."""
    stage = watched.run / checkpoint.parent.name
    if "--bundle" in watched.heldout_options or not (stage / "run.json").is_file():
        return ()
    from smoltrain.run import bundle_of

    return ("--bundle", str(bundle_of(stage)))


def score_here(piece: Piece) -> bool:
    """Run a command in a child process and mark it; return whether it did well.

    Raises :class:`BusyError` if another process is at it.
    """
    with single_writer(piece.place):
        if piece.done:
            return True
        code = subprocess.run(
            [sys.executable, "-c", _CHILD, *piece.words], stdout=subprocess.DEVNULL, check=False
        )
        if code.returncode != 0:
            if piece.checkpoint.is_dir():
                say(f"failed with code {code.returncode}: smoleval {shlex.join(piece.words)}")
            else:
                say(f"{piece.checkpoint} was removed before it was scored; look more often with --poll")
            return False
        write_json(piece.place / _MARK, {"checkpoint": str(piece.checkpoint), "command": list(piece.words)})
    return True


@dataclass(frozen=True, slots=True)
class Slurm:
    """How jobs are submitted."""

    options: Words = ()
    """Of sbatch: partition, GPUs, time."""
    python: str = sys.executable


def submit(piece: Piece, watched: Watched, slurm: Slurm) -> bool:
    """Submit a job that scores a checkpoint, unless one is in the queue; return whether there is hope.

    The job runs ``smoleval watch --once`` for the checkpoint: it makes the same marks. A piece whose jobs
    ended three times without a mark is given up.
    """
    name = f"smoleval-{piece.key}"
    with single_writer(piece.place / "submitting"):
        # The queue first: a job that leaves it after this has made its mark by the next look.
        if _in_queue(name) or piece.done:
            return True
        submitted = sorted(piece.place.glob("submitted-*"))
        if len(submitted) >= _MOST_SUBMISSIONS:
            say(
                f"given up after {len(submitted)} jobs: {piece.checkpoint.name} {piece.asked}; "
                f"see {piece.place}"
            )
            return False
        script = piece.place / "job.sbatch"
        write_atomic(script, job_script(piece, watched, slurm, name))
        job = _call("sbatch", "--parsable", *slurm.options, str(script)).strip().split(";")[0]
        # Killed before this line, the job is found by its name in the queue, or by its mark.
        write_atomic(piece.place / f"submitted-{len(submitted)}", job)
    say(f"job {job}: {piece.checkpoint.name} {piece.asked}")
    return True


def job_script(piece: Piece, watched: Watched, slurm: Slurm, name: str) -> str:
    """Return the sbatch file of a piece."""
    words = [slurm.python, "-m", "smoleval", "watch", str(watched.run.resolve()), "--once", "--no-page"]
    words += ["--tasks", piece.asked, "--build", str(watched.build.resolve())]
    words += ["--only", piece.checkpoint.name]
    words += [f"--run-option={option}" for option in watched.options]
    words += [f"--heldout-option={option}" for option in watched.heldout_options]
    return (
        f"#!/bin/sh\n#SBATCH --job-name={name}\n#SBATCH --output={piece.place.resolve()}/slurm-%j.out\n"
        f"# Made by smoleval watch --slurm: scores one checkpoint, once.\nexec {shlex.join(words)}\n"
    )


class QueueError(SmolError):
    """The cluster did not say what is in its queue: a controller that starts again answers later."""


def _in_queue(name: str) -> bool:
    return bool(_call("squeue", "--noheader", f"--name={name}", "--format=%i", error=QueueError).strip())


def _call(*words: str, error: type[SmolError] = InputError) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        where = "which is not here; run on a machine of the cluster"
        raise InputError(f"--slurm needs {words[0]}, {where}") from missing
    if done.returncode != 0:
        raise error(f"{shlex.join(words)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def look(watched: Watched, failed: set[str], slurm: Slurm | None = None) -> tuple[int, int]:
    """Do, or submit, what there is to do now; return (pieces done by this look, pieces left over).

    ``failed``: keys that are not tried again by this watcher; keys that fail are added.
    """
    done, left = 0, 0
    hold(watched)
    for piece in pieces(watched):
        if piece.done or piece.key in failed:
            continue
        try:
            well = score_here(piece) if slurm is None else submit(piece, watched, slurm)
        except BusyError:
            left += 1  # another watcher is at it
            continue
        except QueueError as error:
            say(f"{error}; asked again at the next look")
            left += 1
            continue
        if not well:
            failed.add(piece.key)
        elif slurm is None:
            done += 1
            say(f"scored: {piece.checkpoint.name} {piece.asked}")
        else:
            left += 1
    let_go(watched)
    return done, left


def follow(
    watched: Watched,
    poll_seconds: float,
    scored: Callable[[], None],
    slurm: Slurm | None = None,
    ended: Callable[[], bool] = lambda: False,
) -> bool:
    """Look again and again until the run has ended and nothing is left; return whether nothing failed.

    ``scored`` is called when there are new scores; ``ended`` says whether the run's last checkpoint is there.
    """
    failed: set[str] = set()
    marks = -1
    with holding(watched, poll_seconds):
        while True:
            over = ended()  # before the look: what appears after it is seen by the next one
            _, left = look(watched, failed, slurm)
            now = sum(piece.done for piece in pieces(watched))
            if now != marks:
                marks = now
                scored()
            if over and left == 0:
                return not failed
            time.sleep(poll_seconds)


def has_ended(run: Path) -> bool:
    """Return whether a run of ``smoltrain train`` has written the checkpoint of its last step."""
    facts = run / "run.json"
    if not facts.is_file():
        return False
    steps = json.loads(facts.read_text(encoding="utf-8"))["settings"].get("steps")
    return steps is not None and (run / "checkpoints" / f"step-{int(steps):07d}").is_dir()


def check(watched: Watched) -> None:
    """Raise :class:`InputError` for what can't be watched: no run, no tasks, prompts that are not there."""
    if not watched.run.is_dir():
        raise InputError(f"no run {watched.run}; give the folder of a run of `smoltrain train`")
    if not watched.tasks:
        raise InputError("--tasks names nothing: give heldout, suites or tasks, or ruler:<folder of prompts>")
    for task in watched.tasks:
        if task.startswith(RULER) and not (Path(task.removeprefix(RULER)) / "manifest.json").is_file():
            raise InputError(f"{task.removeprefix(RULER)} holds no RULER prompts; see `smoleval ruler build`")
    names = [one for one in watched.tasks if one != HELDOUT and not one.startswith(RULER)]
    if names:
        from smoleval.definition import select

        select(names)
