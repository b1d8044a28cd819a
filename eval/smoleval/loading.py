"""A checkpoint folder and a tokenizer -> a model that lighteval can ask.

transformers' ``AutoModelForCausalLM``: safetensors only, no remote code. Attention is PyTorch's
scaled-dot-product. Cost: reading the weights once.
"""

from pathlib import Path
from typing import Any

from smoldata.errors import InputError
from smoleval.generate import Limits
from smoleval.job import Job
from smoleval.lightmodel import SmolModel


def load(job: Job) -> SmolModel:
    """Return the job's model. Raises :class:`InputError` if model and tokenizer do not fit each other."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            job.checkpoint,
            dtype=getattr(torch, job.dtype),
            attn_implementation="sdpa",
            use_safetensors=True,
            trust_remote_code=False,
        ).to(job.device)
    except (OSError, ValueError) as error:
        raise InputError(f"{job.checkpoint} cannot be loaded as a causal model: {error}") from error
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


def load_tokenizer(path: Path) -> Any:
    """Return the tokenizer of a folder, or of a ``tokenizer.json``."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        if path.is_file():
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path))
        else:
            tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} holds no tokenizer that transformers reads: {error}") from error
    if tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer {path} names no end-of-text token; give a folder that does")
    return tokenizer
