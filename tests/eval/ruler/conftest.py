"""Material for prompts: real text and a small tokenizer, both of the standard library."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import SmallHouse

SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": f"Town {number}",
            "paragraphs": [
                {
                    "context": f"Town {number} lies on river {number} and part {part} has {part + 3} mills. "
                    * 3,
                    "qas": [
                        {
                            "question": f"Where does town {number} lie?",
                            "answers": [{"text": f"river {number}"}, {"text": f"on river {number}"}],
                            "is_impossible": False,
                        },
                        {"question": "Who?", "answers": [], "is_impossible": True},
                    ],
                }
                for part in range(2)
            ],
        }
        for number in range(8)
    ],
}
HOTPOT = [
    {
        "question": f"Which hill is higher, {number} or {number + 1}?",
        "answer": f"hill {number}",
        "context": [
            [f"Hill {hill}", [f"Hill {hill} is {hill} feet high.", " It has trees, sheep and a hut." * 4]]
            for hill in (number, number + 1)
        ],
    }
    for number in range(12)
]


@pytest.fixture(scope="session")
def question_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Write questions in the schemas of SQuAD 2.0 and HotpotQA."""
    folder = tmp_path_factory.mktemp("questions")
    for name, content in (("squad", SQUAD), ("hotpot", HOTPOT)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    return str(folder / "squad.json"), str(folder / "hotpot.json")


@pytest.fixture(scope="session")
def prose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write running text: what modules of the standard library say of themselves."""
    import argparse
    import asyncio
    import decimal
    import logging
    import unittest

    modules = (argparse, asyncio, decimal, logging, unittest)
    texts = [
        str(one.__doc__) for module in modules for one in (module, *vars(module).values()) if one.__doc__
    ]
    path = tmp_path_factory.mktemp("prose") / "prose.txt"
    path.write_text("\n\n".join(texts))
    return path


@pytest.fixture(scope="session")
def tokenizer(small_house: "SmallHouse") -> str:
    return str(small_house.tokenizer)
