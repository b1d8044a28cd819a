"""A head over the mean of an encoder's tokens: the published formula; files are read and never run."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs torch: make setup-train")
pytest.importorskip("transformers", reason="needs transformers: make setup-train")

import torch
from safetensors.torch import save_file
from tests.data.scoring.builds import builder

from smoldata.errors import InputError, IntegrityError, RecipeError
from smoldata.files import sha256
from smoldata.scoring.encoder import Encoder
from smoldata.scoring.pooled import NAMES, load_pooled, read_head
from smoldata.steps import StepContext, make_steps

HIDDEN = 16


def published(model: Path, texts: list[str], length: int) -> torch.Tensor:
    """Return the embeddings as epfml/fineweb2-hq defines them: masked mean of the last hidden states."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, net = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    rows = []
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=length)
        with torch.inference_mode():
            rows.append(net(**inputs).last_hidden_state[0].mean(0))
    return torch.stack(rows).clone()


@pytest.fixture(scope="module")
def network(model: Path, labelled: list[tuple[str, bool]]) -> torch.nn.Sequential:
    """Return a head in the published form, trained on real text: prose against code."""
    part = labelled[::3]
    inputs = published(model, [text for text, _ in part], 64)
    wanted = torch.tensor([float(is_prose) for _, is_prose in part])
    torch.manual_seed(6)
    layers = torch.nn.Sequential(
        torch.nn.Linear(inputs.shape[1], HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.2),
        torch.nn.Linear(HIDDEN, 1),
    )
    optimizer = torch.optim.AdamW(layers.parameters(), lr=1e-2)
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(layers(inputs).squeeze(-1), wanted)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return layers.eval()


@pytest.fixture(scope="module")
def head(network: torch.nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the head as the published ones are stored."""
    path = tmp_path_factory.mktemp("head") / "eng_Latn.pt"
    torch.save({f"classifier.{name}": value for name, value in network.state_dict().items()}, path)
    return path


def asked(model: Path, head: Path, length: int = 64) -> Encoder:
    return load_pooled(str(model), None, head, sha256(head), "cpu", length)


def test_scores_are_the_published_formula(
    model: Path, head: Path, network: torch.nn.Sequential, labelled: list[tuple[str, bool]]
) -> None:
    part = labelled[1::7]
    texts = [text for text, _ in part]
    scores = asked(model, head).scores(texts)
    with torch.inference_mode():
        wanted = torch.sigmoid(network(published(model, texts, 64))).squeeze(-1).tolist()
    assert scores == pytest.approx(wanted, abs=1e-5)
    right = sum((score > 0.5) == is_prose for score, (_, is_prose) in zip(scores, part, strict=True))
    assert right / len(part) > 0.85


def test_a_score_depends_on_nothing_else(model: Path, head: Path, labelled: list[tuple[str, bool]]) -> None:
    texts = [text for text, _ in labelled[::23]]
    scorer = asked(model, head)
    assert scorer.scores(texts) == [scorer.scores([text])[0] for text in texts]
    long = " ".join(texts)
    assert scorer.scores([long]) == scorer.scores([long + " and more of it"])


def test_both_formats_hold_the_same_tensors(head: Path, tmp_path: Path) -> None:
    tensors = torch.load(head, weights_only=True)
    other = tmp_path / "head.safetensors"
    save_file(tensors, other)
    for path in (head, other):
        found = read_head(path, sha256(path))
        assert list(found) == list(NAMES)
        assert all(torch.equal(found[name], tensors[name]) for name in NAMES)


class Harmful:
    """A value whose unpickling would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        """Say what unpickling would call."""
        return Path.touch, (self.path,)


def test_a_pickle_is_never_run(head: Path, tmp_path: Path) -> None:
    tensors = torch.load(head, weights_only=True)
    mark = tmp_path / "was-run"
    for place, state in enumerate([tensors | {"more": Harmful(mark)}, {**tensors, NAMES[0]: Harmful(mark)}]):
        path = tmp_path / f"{place}.pt"
        torch.save(state, path)
        if place == 0:
            assert read_head(path, sha256(path)).keys() == set(NAMES), (
                "what is not asked for is not looked at"
            )
        else:
            with pytest.raises(InputError, match="not as a plain float tensor"):
                read_head(path, sha256(path))
    assert not mark.exists()


def test_what_is_no_head_is_an_error(model: Path, head: Path, tmp_path: Path, context: StepContext) -> None:
    tensors = torch.load(head, weights_only=True)
    wrong: dict[str, Any] = {
        "half": {**tensors, NAMES[0]: tensors[NAMES[0]].half()},
        "part": {**tensors, NAMES[0]: torch.zeros(2 * HIDDEN, 32)[HIDDEN:]},
        "turned": {**tensors, NAMES[0]: torch.zeros(32, HIDDEN).T},
        "missing": {NAMES[0]: tensors[NAMES[0]]},
    }
    for name, state in wrong.items():
        torch.save(state, tmp_path / f"{name}.pt")
    (tmp_path / "cut.pt").write_bytes(head.read_bytes()[:-100])
    (tmp_path / "cut.safetensors").write_bytes(b"\x08")
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("readme", "nothing")
    for path in sorted(tmp_path.glob("*.*")):
        with pytest.raises(InputError, match="is no head"):
            read_head(path, sha256(path))
    with pytest.raises(InputError, match="no head at"):
        read_head(tmp_path / "nowhere.pt", "0" * 64)
    with pytest.raises(IntegrityError, match="wanted 000"):
        read_head(head, "0" * 64)
    narrow = {**tensors, NAMES[0]: torch.zeros(HIDDEN, 8)}
    torch.save(narrow, tmp_path / "narrow.pt")
    with pytest.raises(InputError, match="is 32 wide"):
        asked(model, tmp_path / "narrow.pt")
    settings = {
        "name": "q",
        "model": "owner/name",
        "revision": None,
        "head": str(head),
        "sha256": sha256(head),
    }
    with pytest.raises(InputError, match="give the `revision`"):
        make_steps("embedding_score", settings, context)
    with pytest.raises(RecipeError, match="sha256"):
        make_steps("embedding_score", {"name": "q", "head": str(head)}, context)


RECIPE = """
format_version: 1
name: trial
description: Texts that a head scores.
source: a test
steps:
  - step: embedding_score
    settings:
      {{name: quality_score, model: {model}, head: {head}, sha256: {digest}, max_length: 64, device: cpu}}
    source: a test
  - step: score
    settings: {{name: quality_score, at_least: 0.5}}
    source: a test
"""


def test_a_build_gives_the_same_scores_whatever_the_tasks(
    tmp_path: Path, model: Path, head: Path, labelled: list[tuple[str, bool]]
) -> None:
    part = [text for text, _ in labelled[::11]]
    recipe = RECIPE.format(model=model, head=head, digest=sha256(head))
    built = builder(tmp_path, recipe, part, files=3)
    whole = built("one", 1)
    assert 0 < len(whole) < len(part)
    assert built("three", 3) == whole
    scores = asked(model, head).scores(part)
    assert {key: row["quality_score"] for key, row in whole.items()} == {
        str(at): score for at, score in enumerate(scores) if score >= 0.5
    }
