"""A checkpoint folder and a tokenizer -> a model that lighteval can ask.

transformers' ``AutoModelForCausalLM``: safetensors only, no remote code. Attention is PyTorch's
scaled-dot-product. Cost: reading the weights once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from smoldata.errors import InputError
from smoleval.generate import Limits
from smoleval.job import Job

if TYPE_CHECKING:
    from smoleval.lightmodel import SmolModel


def load(job: Job) -> "SmolModel":
    """Return the job's model. Raises :class:`InputError` if model and tokenizer do not fit each other."""
    from smoleval.lightmodel import SmolModel

    model = load_model(Path(job.checkpoint), job.dtype, job.device)
    tokenizer = load_tokenizer(Path(job.tokenizer))
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise InputError(
            f"the tokenizer {job.tokenizer} has {len(tokenizer):,} tokens, the model {job.label} {rows:,} "
            "embeddings; give the tokenizer that it was trained with (--tokenizer)"
        )
    limits = Limits(
        job.max_length,
        job.batch_tokens,
        job.cache_tokens,
        seed=job.seed,
        max_new_tokens=job.max_new_tokens,
    )
    return SmolModel(model, tokenizer, limits, job.label)


def load_model(checkpoint: Path, dtype: str, device: str) -> Any:
    """Return a checkpoint's model on a device, ready to answer.

    Raises :class:`InputError` if it is no causal model, or if weights of it are no finite numbers: its
    log-likelihoods would be none either, and the first choice would count as picked.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(checkpoint),
            dtype=getattr(torch, dtype),
            attn_implementation="sdpa",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        ).to(device)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        why = str(error).partition("\n")[0]
        raise InputError(f"{checkpoint} cannot be loaded as a causal model on {device}: {why}") from error
    broken = [name for name, weights in model.named_parameters() if not torch.isfinite(weights).all()]
    if broken:
        raise InputError(
            f"{checkpoint}: {len(broken)} of its weights hold values that are no finite numbers, first "
            f"{broken[0]}; its training had failed by then, give an earlier checkpoint"
        )
    return model.eval()


def load_tokenizer(path: Path) -> Any:
    """Return the tokenizer of a folder, or of a ``tokenizer.json``."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        if path.is_file():
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path))
        else:
            tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    except Exception as error:  # tokenizers raises plain Exceptions
        why = str(error).partition("\n")[0]
        raise InputError(f"{path} holds no tokenizer that transformers reads: {why}") from error
    if tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer {path} names no end-of-text token; give a folder that does")
    return tokenizer
