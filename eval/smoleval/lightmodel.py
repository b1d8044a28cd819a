"""A Hugging Face causal model as a lighteval model: its own class, because lighteval's own is slow and pads.

Log-likelihoods come from :mod:`smoleval.loglikelihood`, generated text from :mod:`smoleval.generate`. Unlike
in lighteval's class, a choice's tokens are its own: lighteval 0.13 pads them to the longest choice, which
undoes the normalisation by tokens.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lighteval.models.abstract_model import LightevalModel, ModelConfig
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.prompt_manager import PromptManager
from lighteval.tasks.requests import Doc

from smoldata.errors import InputError
from smoleval.asking import chat_prompt
from smoleval.generate import Generator, Limits
from smoleval.loglikelihood import Answer, Request, answers, encode, rows_of, split


class _NoCache:
    """lighteval's cache of answers is not used: finished tasks are kept as score files."""

    def _init_registry(self, registry: object) -> None:
        """Do nothing; lighteval's pipeline calls this."""


class SmolModel(LightevalModel):  # type: ignore[misc]  # lighteval ships no types
    """A causal model and its tokenizer, answering lighteval's requests."""

    def __init__(self, model: Any, tokenizer: Any, limits: Limits, name: str) -> None:
        """Take a loaded model; ``limits`` are lengths and batch sizes, ``name`` is what logs say."""
        self.model = model.eval()
        self.config = ModelConfig(model_name=name)
        self.limits = limits
        self.prompt_manager = PromptManager()
        self._tokenizer = tokenizer
        self._cache = _NoCache()
        self.truncated = 0
        """Requests whose context was cut on the left to fit."""

    @property
    def tokenizer(self) -> Any:
        """Return the tokenizer."""
        return self._tokenizer

    @property
    def add_special_tokens(self) -> bool:
        """Return whether the tokenizer adds its own (a BOS, where it has one), as lighteval does."""
        return True

    @property
    def max_length(self) -> int:
        """Return the longest input in tokens."""
        return self.limits.max_length

    def use_chat(self, system_prompt: str | None) -> None:
        """Ask through the chat template from now on."""
        self.prompt_manager = PromptManager(
            use_chat_template=True, tokenizer=self._tokenizer, system_prompt=system_prompt
        )

    def use_plain(self) -> None:
        """Ask as plain text from now on."""
        self.prompt_manager = PromptManager()

    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        """Generate; see :mod:`smoleval.generate`."""
        prompts = [self._asked(doc) for doc in docs]
        special = self.add_special_tokens and not self.prompt_manager.use_chat_template
        ids = encode(self._tokenizer, prompts, special=special)
        generator = Generator(self.model, self._tokenizer, self.limits)
        generated, cut = generator.answers(ids, docs)
        self.truncated += cut
        return [
            ModelResponse(
                input=prompt, input_tokens=tokens, text=list(answer.texts), output_tokens=list(answer.tokens)
            )
            for prompt, tokens, answer in zip(prompts, ids, generated, strict=True)
        ]

    def _asked(self, doc: Doc) -> str:
        """Return the prompt; a question alone goes to the chat template by our own function."""
        manager = self.prompt_manager
        if not manager.use_chat_template or doc.fewshot_samples or doc.instruction:
            return str(manager.prepare_prompt(doc))
        tools = (doc.specific or {}).get("tools")
        return chat_prompt(self._tokenizer, manager.system_prompt, doc.query, tools)

    def loglikelihood(self, docs: list[Doc]) -> list[ModelResponse]:
        """Return ln p of each choice given its prompt; see :mod:`smoleval.loglikelihood`."""
        prompts = [str(self.prompt_manager.prepare_prompt(doc)) for doc in docs]
        choices = [list(doc.choices) for doc in docs]
        requests = split(self._tokenizer, prompts, choices, special=self.add_special_tokens)
        rows, cut = rows_of(requests, self.max_length)
        self.truncated += cut
        found: dict[tuple[int, int], Answer] = {
            (request.item, request.choice): answer
            for request, answer in answers(self.model, rows, self.limits.batch_tokens)
        }
        lost = sum(math.isnan(answer.logprob) for answer in found.values())
        if lost:
            raise InputError(
                f"{lost:,} of {len(found):,} log-likelihoods are no numbers in {self.model.dtype}: the model "
                "overflows; give --dtype bfloat16 or float32, or another checkpoint"
            )
        return [_response(prompt, group, found) for prompt, group in zip(prompts, requests, strict=True)]

    def loglikelihood_rolling(self, docs: list[Doc]) -> list[ModelResponse]:  # noqa: ARG002 (lighteval's name)
        """Refuse: no task of ours asks for it (held-out loss has its own scorer)."""
        raise InputError("rolling log-likelihoods are not computed here; see `smoleval heldout`")


def _response(
    prompt: str, group: Sequence[Request], found: Mapping[tuple[int, int], Answer]
) -> ModelResponse:
    known = [found[request.item, request.choice] for request in group]
    return ModelResponse(
        input=prompt,
        input_tokens=list(group[0].context),
        output_tokens=[list(request.tokens) for request in group],
        logprobs=[answer.logprob for answer in known],
        argmax_logits_eq_gold=[answer.greedy for answer in known],
    )
