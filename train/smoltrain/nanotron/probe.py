"""What nanotron's own Python has: run by path in that environment, prints one JSON object.

    python probe.py CHECKOUT [--varlen] [--blend]

Imports nothing of smoltrain (but its stand-in for flash-attn, with ``--varlen``), so that it runs wherever
nanotron is to run. Every import is tried in a process of its own state once; what fails is reported as
text, never raised. ``--blend`` compiles a copy of nanotron's blending extension in a temporary folder and
calls it: on one host it crashed.
"""

import importlib
import inspect
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LIBRARIES = (
    "numpy",
    "dacite",
    "datasets",
    "transformers",
    "einops",
    "psutil",
    "functorch.dim",
    "triton",
    "flash_attn",
)
OURS = ("numpy", "pyarrow", "rich", "xxhash")
NANOTRON = ("nanotron.config", "nanotron.trainer", "nanotron.data.tokenized_bytes")
TOOLS = ("make", "g++", "python3-config")
BLEND_SECONDS = 300
BLEND = """
import numpy, helpers
folder, place = numpy.zeros(10, numpy.int16), numpy.zeros(10, numpy.int64)
counts = numpy.zeros(2, numpy.int64)
helpers.build_blending_indices(folder, place, counts, numpy.array([0.7, 0.3]), 2, 10, True)
assert counts.tolist() == [7, 3], counts
"""


def main() -> None:
    """Print what is there."""
    checkout = Path(sys.argv[1])
    sys.path.insert(0, str(checkout / "src"))
    if "--varlen" in sys.argv:
        from smoltrain.nanotron import standin

        standin.install()
    found: dict[str, object] = {
        "python": platform.python_version(),
        "torch": _torch(),
        "libraries": {name: _import(name) for name in dict.fromkeys(LIBRARIES + OURS)},
        "nanotron": {name: _import(name) for name in NANOTRON},
        "hooks": _hooks(),
        "datatrove": _datatrove(),
        "flash_attn": _flash_attn(),
        "tools": {name: shutil.which(name) or "" for name in TOOLS} | {"pybind11": _pybind11()},
    }
    if "--blend" in sys.argv:
        found["blend"] = _blend(checkout)
    print(json.dumps(found))


def _import(name: str) -> dict[str, str]:
    try:
        module = importlib.import_module(name)
    except BaseException as error:  # noqa: BLE001 - a broken library may raise anything, SystemExit included
        return {"version": "", "error": f"{type(error).__name__}: {error}"[:300]}
    return {"version": str(getattr(module, "__version__", "there")), "error": ""}


def _torch() -> dict[str, object]:
    try:
        import torch
    except ImportError as error:
        return {"version": "", "error": str(error)}
    varlen = importlib.util.find_spec("torch.nn.attention.varlen") is not None
    there = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if there else ""
    return {"version": torch.__version__, "cuda": there, "device": device, "varlen": varlen, "error": ""}


def _pybind11() -> str:
    """Ask as nanotron's Makefile does: the python3 of the path, which need not be this one."""
    try:
        done = subprocess.run(
            ["python3", "-m", "pybind11", "--includes"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _hooks() -> list[str]:
    """Return what our launcher relies on and nanotron's trainer lacks."""
    trainer = sys.modules.get("nanotron.trainer")
    if trainer is None:
        return ["nanotron.trainer"]
    wanted = {
        "train": ("dataloader_or_dls",),
        "training_step": ("dataloader",),
        "save_checkpoint": (),
        "train_step_logs": ("outputs", "loss_avg", "z_loss_avg", "tbi_logs"),
    }
    lacking = []
    for name, arguments in wanted.items():
        method = getattr(trainer.DistributedTrainer, name, None)
        known = inspect.signature(method).parameters if method else {}
        lacking += [name] if method is None else [f"{name}({one})" for one in arguments if one not in known]
    return lacking


def _datatrove() -> dict[str, object]:
    """Return what nanotron passes to datatrove's folder dataset that this datatrove does not take."""
    try:
        from datatrove.utils.dataset import DatatroveFolderDataset
    except BaseException as error:  # noqa: BLE001 - as above
        return {"lacking": [], "error": f"{type(error).__name__}: {error}"[:300]}
    wanted = [
        *("folder_path", "seq_len", "token_size", "max_tokens", "return_positions"),
        *("eos_token_id", "read_path", "matched_files", "file_sizes"),
    ]
    known = inspect.signature(DatatroveFolderDataset.__init__).parameters
    return {"lacking": [name for name in wanted if name not in known], "error": ""}


def _flash_attn() -> dict[str, object]:
    """Say whether this flash-attn has the signatures that nanotron calls, and runs on this device."""
    found = _import("flash_attn")
    if found["error"]:
        return {"version": "", "error": found["error"]}
    try:
        from flash_attn.layers.rotary import RotaryEmbedding

        fits = "pos_idx_in_fp32" in inspect.signature(RotaryEmbedding.__init__).parameters
        standin = RotaryEmbedding.__module__.startswith("smoltrain")
        return {"version": found["version"], "fits": fits, "standin": standin, "error": _attend()}
    except BaseException as error:  # noqa: BLE001 - as above
        return {"version": found["version"], "fits": False, "error": f"{type(error).__name__}: {error}"[:300]}


def _attend() -> str:
    """Run a small attention over two documents, forward and backward, where there is a device."""
    import torch

    if not torch.cuda.is_available():
        return ""
    from flash_attn.flash_attn_interface import flash_attn_varlen_func

    q = torch.randn(16, 4, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    k = torch.randn(16, 2, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    ends = torch.tensor([0, 9, 16], device="cuda", dtype=torch.int32)
    out = flash_attn_varlen_func(q, k, k, ends, ends, 9, 9, causal=True)
    out.float().sum().backward()
    return "" if q.grad is not None and torch.isfinite(q.grad).all() else "gradients are not finite"


def _blend(checkout: Path) -> str:
    """Compile and call the blending extension away from the checkout; return what went wrong."""
    source = checkout / "src" / "nanotron" / "data" / "nemo_dataset"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("Makefile", "helpers.cpp"):
            shutil.copy(source / file, folder)
        made = subprocess.run(
            ["make", "-C", folder], capture_output=True, text=True, check=False, timeout=BLEND_SECONDS
        )
        if made.returncode:
            return "make failed: " + made.stderr.strip()[-300:]
        done = subprocess.run(
            [sys.executable, "-c", BLEND],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=BLEND_SECONDS,
        )
        return "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"


if __name__ == "__main__":
    main()
