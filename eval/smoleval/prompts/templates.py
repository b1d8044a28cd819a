"""lighteval's prompt templates, by language and formulation: made once, then called with plain values.

A template of lighteval takes a row and an adapter that names its columns; here the adapter is the identity,
so that prompt functions hand over values. ``formulation``: ``cf`` scores the answers' texts, ``mcf`` shows
lettered options and scores the letters, ``hybrid`` shows the options and scores the texts.
"""

import functools
from collections.abc import Mapping
from typing import Any

from smoleval.definition import TaskDefinition
from smoleval.prompts import Row

Values = dict[str, Any]


def multiple_choice(task: TaskDefinition, values: Values) -> Any:
    """Return the Doc of a question: keys ``question``, ``choices``, ``gold_idx``, perhaps ``context``."""
    return _made("multiple_choice", *_settings(task))(values, task.name)


def yes_or_no(task: TaskDefinition, values: Values) -> Any:
    """Return the Doc of a yes-or-no question: keys ``question``, ``answer`` (bool), ``context``."""
    return _made("yes_or_no", *_settings(task))(values, task.name)


def continuation(task: TaskDefinition, values: Values) -> Any:
    """Return the Doc of a text with continuations: keys ``context``, ``continuations``, ``gold_idx``."""
    return _made("continuation", *_settings(task))(values, task.name)


def hellaswag(task: TaskDefinition, values: Values) -> Any:
    """Return the Doc of HellaSwag: keys ``ctx_a``, ``ctx_b``, ``activity_label``, ``continuations`` ..."""
    return _made("hellaswag", *_settings(task))(values, task.name)


def translation(task: TaskDefinition, source: str, target: str, values: Values) -> Any:
    """Return the Doc of a translation: keys ``source_text``, ``target_text``; languages as ISO 639-3."""
    return _translation(source, target)(values, task.name)


def winogrande(row: Row) -> Values | None:
    """Return lighteval's reading of a Winogrande row: the text before the blank, options with the rest."""
    from lighteval.tasks.multilingual.adapters import winogrand_adapter

    values: Values | None = winogrand_adapter(_language("eng"), dict(row))
    return values


def _settings(task: TaskDefinition) -> tuple[str, str]:
    return str(task.args.get("language", "eng")), str(task.args.get("formulation", "cf"))


def _identity(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return values


@functools.cache
def _made(kind: str, language: str, formulation: str) -> Any:
    from lighteval.tasks.templates.boolq import get_boolq_prompt_function
    from lighteval.tasks.templates.continuation import get_continuation_prompt_function
    from lighteval.tasks.templates.hellaswag import get_hellaswag_prompt_function
    from lighteval.tasks.templates.multichoice import get_mcq_prompt_function
    from lighteval.tasks.templates.utils.formulation import CFFormulation, HybridFormulation, MCFFormulation

    makers = {
        "multiple_choice": get_mcq_prompt_function,
        "yes_or_no": get_boolq_prompt_function,
        "continuation": get_continuation_prompt_function,
        "hellaswag": get_hellaswag_prompt_function,
    }
    shapes = {"cf": CFFormulation, "mcf": MCFFormulation, "hybrid": HybridFormulation}
    return makers[kind](_language(language), _identity, formulation=shapes[formulation]())


@functools.cache
def _translation(source: str, target: str) -> Any:
    from lighteval.tasks.templates.translation import get_translation_prompt_function
    from lighteval.tasks.templates.utils.formulation import CFFormulation

    return get_translation_prompt_function(
        _language(source), _language(target), _identity, formulation=CFFormulation()
    )


def _language(code: str) -> Any:
    from lighteval.utils.language import Language, manage_duplicate_language_codes

    return Language(manage_duplicate_language_codes(code))
