"""Recipe files: the shipped ones against published facts, one's own, and every kind of mistake."""

from fractions import Fraction
from pathlib import Path

import pytest

import smolmix
from smoldata.errors import RecipeError
from smolmix.recipe import load_recipe, read_recipe, shipped_recipes

OWN = """\
format_version: 1
name: mine
sequence_length: 128
batch_windows: 4
budget: 1M
weights:
  books: 70%
  code: {python: 20%, rust: rest}
"""


def own(text: str = OWN) -> smolmix.recipe.Recipe:  # type: ignore[name-defined]
    return read_recipe(text, Path("mine.yaml"))


@pytest.mark.parametrize(
    ("stage", "sources", "web", "multilingual", "code", "math"),
    [("stage1", 41, 85, 12, 12, 3), ("stage2", 46, 75, 12, 15, 10), ("stage3", 56, 63, 12, 24, 13)],
)
def test_blog_presets_have_the_percentages_of_the_blog(
    stage: str, sources: int, web: int, multilingual: int, code: int, math: int
) -> None:
    root = load_recipe(stage).preset("blog").tree.root
    points = {node.path: node.weight * 100 for top in root.children for node in (top, *top.children)}
    assert (points["web",], points["code",], points["math",]) == (web, code, math)
    assert points["web", "multilingual"] == multilingual
    assert len(smolmix.weights(stage, "blog")) == sources


@pytest.mark.parametrize(
    ("stage", "sources", "total", "steps"),
    [
        ("stage1", 41, "1", 3_450_000),
        ("stage2", 46, "1.00005", 748_000),
        ("stage3", 56, "1.00565", 522_000),
        ("long_context_32k", 56, "1.0000002", 20_000),
        ("long_context_64k", 57, "1.0000002", 22_000),
    ],
)
def test_released_presets_have_the_published_sums_and_steps(
    stage: str, sources: int, total: str, steps: int
) -> None:
    recipe = load_recipe(stage)
    preset = recipe.preset("released")
    literals = [Fraction(leaf.literal) for leaf in preset.tree.root.leaves()]
    assert (len(literals), sum(literals)) == (sources, Fraction(total))
    assert preset.budget.tokens(recipe.sequence_length, recipe.batch_windows) == steps * 2_359_296
    for leaf in preset.tree.root.leaves():
        assert leaf.weight == Fraction(leaf.literal) / Fraction(total)


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_inside_a_group_the_blog_keeps_the_released_proportions(stage: str) -> None:
    blog, released = smolmix.weights(stage, "blog"), smolmix.weights(stage, "released")
    root = load_recipe(stage).preset("blog").tree.root
    for group in [node for top in root.children for node in (top.children if top.name == "web" else (top,))]:
        assert len({blog[leaf.name] / released[leaf.name] for leaf in group.leaves()}) == 1


def test_some_weights_by_hand() -> None:
    # Stage 2: English web has 63 of 75 points of web; dclm 0.33 of the 0.647 that the list gives it.
    assert smolmix.weights("stage2", "blog")["dclm"] == Fraction(63, 100) * Fraction(330, 647)
    # Stage 3: mathematics and reasoning sets share 13 points: 0.1256 + 0.007 of the published list.
    assert smolmix.weights("stage3", "blog")["2students"] == Fraction(13, 100) * Fraction(30, 1326)
    assert smolmix.weights("2", "released")["wiki"] == Fraction(1, 1000) / Fraction("1.00005")


def test_every_shipped_recipe_is_found_by_both_names() -> None:
    assert [load_recipe(name).name for name in ("1", "2", "3", "32k", "64k", "mid")] == shipped_recipes()


def test_the_curriculum_is_one_line() -> None:
    follows = [load_recipe(name).follows for name in shipped_recipes()]
    assert follows == [None, *shipped_recipes()[:-1]]


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(OWN)
    (tmp_path / "next.yaml").write_text(OWN.replace("name: mine", "name: next\nfollows: mine.yaml"))
    assert load_recipe(tmp_path / "mine.yaml").preset().tree.weights()["rust"] == Fraction(1, 10)
    assert load_recipe(load_recipe(tmp_path / "next.yaml").follows or "").name == "mine"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_windows", "batch_window", "line 4: unknown key 'batch_window'; did you mean 'batch_windows'"),
        ("budget: 1M", "budget: 1X", "line 5: '1X' is not a budget"),
        ("budget: 1M\n", "", "`budget` is missing"),
        ("books: 70%", "books: 71%", r"weights sum to|nothing is left|70"),
        ("sequence_length: 128", "sequence_length: none", "line 3: sequence_length is 'none'"),
        ("name: mine", "name: mine\nname: yours", "line 3: 'name' stands twice"),
        ("name: mine", "name: &x mine\ndescription: *x", "aliases"),
        ("name: mine", "name: !!str mine", "tags"),
        ("name: mine", "name: mine\nfollows: nowhere.yaml", "there is no recipe 'nowhere.yaml'"),
        ("name: mine", "name: mine\nvalidation: 100%", "leaves nothing to train on"),
        ("name: mine", "name: mine\nsample: {sequence_lenght: 4}", "did you mean 'sequence_length'"),
        ("name: mine", "name: [mine", "not valid YAML"),
        ("format_version: 1", "format_version: 2", "format_version is '2'"),
        ("weights:", "presets: {}\nweights:", "not both"),
    ],
)
def test_mistakes_are_named_with_their_line(old: str, new: str, message: str) -> None:
    text = OWN.replace(old, new)
    if "71%" in new:
        text = text.replace("rust: rest", "rust: 10%")
    with pytest.raises(RecipeError, match=message):
        own(text)


def test_scalars_stay_text() -> None:
    text = OWN.replace("books: 70%", "no: 35%\n  on: 0.350").replace(
        "name: mine", "name: mine\ndescription: 1_000"
    )
    recipe = own(text)
    assert recipe.description == "1_000"
    assert recipe.preset().tree.weights()["no"] == recipe.preset().tree.weights()["on"] == Fraction(7, 20)


def test_an_unknown_stage_lists_the_valid_ones() -> None:
    with pytest.raises(RecipeError, match="STAGE is one of 1, 2, 3, 32k, 64k, mid"):
        load_recipe("9")
    with pytest.raises(RecipeError, match="did you mean stage2"):
        load_recipe("stag2")


def test_an_unknown_preset_lists_the_valid_ones() -> None:
    with pytest.raises(RecipeError, match="presets: blog, released"):
        load_recipe("2").preset("blg")
    with pytest.raises(RecipeError, match="none: leave PRESET away"):
        own().preset("blog")


def test_hostile_yaml_is_refused_quickly() -> None:
    bomb = "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    for text in (bomb, "x" * 1_000_001, "[" * 1000, "- 1", "", "a: !!python/object/apply:os.system [ls]"):
        with pytest.raises(RecipeError):
            own(text)


def test_explain_gives_the_steps_of_a_weight() -> None:
    found = {(d.recipe, d.preset): d for d in smolmix.explain("dclm")}
    assert len(found) == 8
    assert found["stage2", "blog"].as_text() == (
        "stage2 blog: 3/4 (web: 75%) x 21/25 (web/english: rest) "
        "x 330/647 (web/english/dclm: 0.33) = 2079/6470"
    )
    with pytest.raises(smolmix.explain.__globals__["SourceError"], match="did you mean dclm"):
        smolmix.explain("dclmm")
