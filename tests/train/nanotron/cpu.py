"""nanotron on a CPU with gloo, for tests: what a GPU machine has is put there, then a program is run.

    torchrun --nproc_per_node=2 cpu.py -m module arguments...
    torchrun --nproc_per_node=1 cpu.py script.py arguments...

Only torch and the places where nanotron insists on CUDA are changed; nanotron's own code runs as it is.
Attention is smoltrain's stand-in for flash-attn, which attends documents one by one on a CPU. This is a
test harness: nobody trains this way. With ``KILL_AT=weights:8`` in the environment a rank kills itself
(SIGKILL) at that point of step 8: see :func:`_kill_at`.
"""

import os
import runpy
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import torch
from torch.overrides import TorchFunctionMode

CPU = torch.device("cpu")


class OnCpu(TorchFunctionMode):
    """Every device named cuda becomes the CPU; asked for contiguous memory, a tensor is made contiguous."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Change the arguments that name a device, then go on."""
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.cuda:
            return args[0]
        kwargs = {key: _here(value) for key, value in kwargs.items()}
        made = func(*[_here(value) for value in args], **kwargs)
        asked = func is torch.Tensor.to and kwargs.get("memory_format") is torch.contiguous_format
        return made.contiguous() if asked else made


def _here(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == "cuda":
        return CPU
    return "cpu" if isinstance(value, str) and value.split(":")[0] == "cuda" else value


class _Anything(ModuleType):
    """A module of which every name is a decorator or a type that does nothing."""

    __path__: ClassVar[list[str]] = []
    __version__ = "3.0.0"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        class Nothing:
            def __init__(self, *_args: Any, **_kwargs: Any) -> None: ...

            def __class_getitem__(cls, _key: Any) -> Any:
                return cls

            def __call__(self, *args: Any, **_kwargs: Any) -> Any:
                return args[0] if args and callable(args[0]) else self

        return Nothing


def _stub_triton() -> None:
    from torch.utils import _triton

    for name in ("has_triton", "has_triton_package", "has_triton_tma", "has_triton_tma_device"):
        setattr(_triton, name, lambda: False)  # torch must not take the stub for the real one
    names = ("triton", "triton.language", "triton.language.extra", "triton.language.extra.libdevice")
    for name in names:
        sys.modules[name] = _Anything(name)
    triton: Any = sys.modules["triton"]
    triton.language = sys.modules["triton.language"]
    triton.cdiv = lambda a, b: -(-a // b)
    for decorator in ("jit", "autotune", "heuristics"):
        setattr(triton, decorator, _decorator)
    functorch: Any = ModuleType("functorch")
    functorch.dim = ModuleType("functorch.dim")
    functorch.dim.tree_map = torch.utils._pytree.tree_map
    sys.modules |= {"functorch": functorch, "functorch.dim": functorch.dim}


def _decorator(*args: Any, **_kwargs: Any) -> Any:
    return args[0] if args and callable(args[0]) else lambda function: function


def _stub_cuda() -> None:
    zeros = ("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved")
    nothing = ("set_device", "reset_peak_memory_stats", "empty_cache", "synchronize")
    cuda: Any = torch.cuda
    for name in zeros:
        setattr(cuda, name, lambda *_args, **_kwargs: 0)
    for name in nothing:
        setattr(cuda, name, lambda *_args, **_kwargs: None)
    cuda.current_device = lambda: CPU
    cuda.device = lambda *_args: None


def _patch_nanotron() -> None:
    from nanotron import distributed as dist
    from nanotron import trainer
    from nanotron.logging import timers

    def start() -> bool:
        dist.init_process_group(
            "gloo",
            init_method="env://",
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
        )
        return True

    dist.initialize_torch_distributed = start
    whole = torch.distributed.all_reduce

    def all_reduce(
        tensor: Any, op: Any = dist.ReduceOp.SUM, group: Any = None, async_op: bool = False
    ) -> Any:
        """Do what gloo lacks: the average."""
        if op != dist.ReduceOp.AVG:
            return whole(tensor, op=op, group=group, async_op=async_op)
        whole(tensor, op=dist.ReduceOp.SUM, group=group)
        with torch.no_grad():
            tensor /= torch.distributed.get_world_size(group)
        return _Done() if async_op else None

    torch.distributed.all_reduce = all_reduce
    dist.all_reduce = all_reduce
    timers.TimerRecord.start = timers.TimerRecord.end = lambda self: self
    timers.TimerRecord.elapsed = 0.0
    trainer.state_dict_to_device = lambda state, _device: state


def _kill_at(point: str, step: int) -> None:
    """Arrange for SIGKILL at a point of a step.

    ``step``: when it is trained; ``weights``: while they are written; ``rank``: of the last rank, before it
    writes its own state; ``written``: when all of nanotron's files are there.
    """
    from nanotron import trainer
    from nanotron.serialize import weights

    train, save_file, save_random = (
        trainer.DistributedTrainer.training_step,
        weights.save_file,
        trainer.save_random_states,
    )

    def training_step(self: Any, dataloader: Any) -> Any:
        made = train(self, dataloader)
        _die(now=self.iteration_step == step)
        return made

    def half_a_file(tensors: Any, filename: Path, metadata: Any) -> None:
        save_file(tensors, filename, metadata)
        if str(step) in filename.parts and "3" in filename.parts:
            os.truncate(filename, filename.stat().st_size // 2)
            _die(now=True)

    def no_state(random_states: Any, parallel_context: Any, root_folder: Path) -> None:
        _die(now=root_folder.name == str(step) and os.environ["RANK"] != "0")
        save_random(random_states, parallel_context, root_folder)

    def written(self: Any) -> None:
        _die(now=self.iteration_step == step)

    if point == "step":
        trainer.DistributedTrainer.training_step = training_step
    elif point == "weights":
        weights.save_file = half_a_file
    elif point == "rank":
        trainer.save_random_states = no_state
    elif point == "written":
        trainer.DistributedTrainer.post_save_checkpoint = written


def _die(*, now: bool) -> None:
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


class _Done:
    def wait(self) -> None:
        """Be done already."""


def main() -> None:
    """Put everything there, then run the program named on the command line."""
    _stub_triton()
    _stub_cuda()
    from smoltrain.nanotron import standin

    standin.find_spec = lambda _name: None  # type: ignore[assignment] # a stub may stand there
    if "flash_attn" not in sys.modules:
        standin.install()
    with OnCpu():
        _patch_nanotron()
        if "KILL_AT" in os.environ:
            point, _, step = os.environ["KILL_AT"].partition(":")
            _kill_at(point, int(step))
        _, first, *rest = sys.argv
        if first == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [first, *rest]
            runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main()
