"""Fixtures of the evaluation room."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def eval_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the pinned packages with evaluation items are fetched into."""
    return tmp_path_factory.mktemp("eval-packages")


@pytest.fixture(scope="session")
def sandbox() -> None:
    """Skip what runs programs where the machine cannot isolate them (user namespaces not allowed)."""
    from smoleval.sandbox import SandboxError, probe

    try:
        probe()
    except SandboxError as error:
        pytest.skip(str(error).partition(";")[0])


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the tokenizer of the tiny model."""
    from tests.eval.tiny_model import write_tokenizer
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(write_tokenizer(tmp_path_factory.mktemp("tokenizer"))))
