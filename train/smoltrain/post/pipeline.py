"""A base checkpoint -> mid-training, SFT, APO, soup and merge, each measured; every step is whole or absent.

::

    <profile>/post/
    ├── raw/              the sample's rows in the hub's schemas
    ├── tokenizer/        vocabulary, control tokens, chat template
    ├── rows/<phase>/     train.parquet, validation.parquet, rows.json
    └── runs/<name>/      mid/ sft/ apo/ (final/, steps/, phase.json), soup/, merged/, sweep/,
                          measures/, post.json, post.html

A step whose inputs are what they were is not done again, so a run that was stopped goes on where it was. Cost
with the tiny model of `make train`: minutes on two cores.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from smoldata.console import say
from smoldata.errors import InputError
from smoldata.files import digest_values, single_writer, write_json, xxh3_128
from smolmix.literals import fraction_text
from smoltrain.post.adapters import Adapter
from smoltrain.post.data import RowsData, build_rows, read_rows
from smoltrain.post.merge import Ingredient, merge, soup
from smoltrain.post.phases import Phase, phase_named
from smoltrain.post.recipe import PHASES, RowsRecipe, load_rows_recipe
from smoltrain.post.ruler import Ruler, build_prompts, is_installed, ruler_scores
from smoltrain.post.sources import FolderSource, HubSource, RowSource, sample_folder
from smoltrain.post.template import write_tokenizer
from smoltrain.post.trainer import Job, read_facts, run_phase, whole_checkpoints

FACTS = "post.json"
SOUP_WEIGHT = Fraction(9, 10)
"""Share of the APO soup in the final merge; the rest is the mid-training checkpoint (blog)."""
SWEEP = tuple(Fraction(part, 20) for part in (0, 5, 10, 15, 18, 19, 20))
"""Shares of the soup that are tried; 0 is the mid-training checkpoint, 1 the soup."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a post-training run is asked for."""

    build: Path
    base: Path
    """Checkpoint folder in Hugging Face form."""
    profile: str = "sample"
    """``sample``, or ``hub``: the published dataset."""
    preset: str = "tiny"
    evaluations: tuple[Path, ...] = ()
    measured_rows: int = 16
    """Held-out rows, and pairs, a mode that each checkpoint is measured on."""
    steps: int | None = None
    """Steps of every phase instead of the preset's."""
    rows: Path | None = None
    """A folder of rows of one's own in the hub's layout, instead of the profile's."""
    tokenizer: Path | None = None
    """A tokenizer folder of one's own, with SmolLM3's control tokens."""
    validation: Fraction = Fraction(1, 20)
    """Share of rows held out; the published recipe holds none out."""
    loss: str = "apo_zero"
    """Of the pairs: ``apo_zero``, ``apo_down``, or ``sigmoid``, which is DPO."""
    adapter: Adapter | None = None
    """LoRA or QLoRA in every phase."""
    micro_batch: int = 1
    """Rows of one pass on one device."""
    ruler: Ruler | None = None
    """RULER after each step and for each weight of the merge, by smoleval; None: long rows alone."""

    @property
    def home(self) -> Path:
        """Return the folder of post-training in the build folder."""
        return self.build / self.profile / "post"

    @property
    def run(self) -> Path:
        """Return the run's folder: named by preset and by what it starts from."""
        start = digest_values([xxh3_128(path) for path in sorted(self.base.glob("model*.safetensors"))])
        parts = [self.preset, start[:8]]
        parts += [] if self.loss == "apo_zero" else [self.loss]
        parts += [f"lora{self.adapter.rank}"] if self.adapter else []
        return self.home / "runs" / "-".join(parts)

    def phase(self, name: str) -> Phase:
        """Return the settings of a phase."""
        from dataclasses import replace

        phase = replace(phase_named(name, self.preset), loss=self.loss)
        return phase if self.steps is None else replace(phase, steps=self.steps)


def newest_base(build: Path) -> Path:
    """Return the last checkpoint of the newest run of `make train`; raises :class:`InputError` if none."""
    from smoltrain.run import newest_run

    steps = sorted(
        path for path in (newest_run(build) / "checkpoints").glob("step-*") if ".tmp-" not in path.name
    )
    return steps[-1]


def posttrain(asked: Asked) -> dict[str, Any]:
    """Do what is not done yet; return the content of ``post.json``, which is written last with its page.

    Raises SourceError when the rows cannot be had, TrainingError when a loss is not finite.
    """
    from smoltrain.post.page import write_page

    if asked.ruler is not None and not is_installed():
        raise InputError(
            "RULER is asked by smoleval, which is not installed; install it, or leave --ruler out"
        )
    if not (asked.base / "config.json").is_file():
        raise InputError(f"{asked.base} holds no checkpoint; make one with `make train STAGE=2`")
    tokenizer, recipes, rows = _prepared(asked)
    results = {"base": asked.base}
    logs = {}
    start = asked.base
    for name in PHASES:
        say(f"{name}: from {start.name if name == 'mid' else start.parent.name}")
        job = _job(asked, name, start, tokenizer, rows[name])
        logs[name] = run_phase(job)
        start = results[name] = job.final
    # Checkpoints of a run with adapters hold the adapters alone; its soup is of one.
    apo = [results["apo"]] if asked.adapter else whole_checkpoints(asked.run / "apo" / "steps")
    results["soup"] = merge(_with_tokenizer(soup(apo), results["apo"]), asked.run / "soup")
    results["merged"] = merge(_mixed(results, SOUP_WEIGHT), asked.run / "merged")
    say("measuring")
    facts = _facts(asked, results, rows, recipes, tokenizer, logs)
    write_json(asked.run / FACTS, facts)
    write_page(asked.run, facts)
    return facts


def one_step(asked: Asked, which: str) -> None:
    """Do one step of :func:`posttrain` alone, in the same folders: ``rows``, or a phase after the one before.

    Every process of a launcher calls it for a phase. Raises :class:`InputError` if one before is not done.
    """
    if which == "rows":
        _prepared(asked)
        return
    rows = read_rows(asked.home / "rows" / which)
    if rows is None:
        raise InputError(
            f"{asked.home / 'rows' / which} holds no rows; make them with `smoltrain post step rows`"
        )
    before = PHASES[PHASES.index(which) - 1] if which != PHASES[0] else None
    start = asked.base if before is None else asked.run / before / "final"
    if before is not None and read_facts(asked.run / before) is None:
        raise InputError(f"{asked.run / before} is not done; do `smoltrain post step {before}` first")
    run_phase(_job(asked, which, start, asked.tokenizer or asked.home / "tokenizer", rows))


def _prepared(asked: Asked) -> tuple[Path, dict[str, RowsRecipe], dict[str, RowsData]]:
    """Return tokenizer, recipes and rows of all phases, made unless they are there."""
    with single_writer(asked.home):
        tokenizer = _tokenizer(asked)
        recipes = {name: load_rows_recipe(name) for name in PHASES}
        return tokenizer, recipes, {name: _rows(asked, one, tokenizer) for name, one in recipes.items()}


def _job(asked: Asked, name: str, start: Path, tokenizer: Path, rows: RowsData) -> Job:
    phase = asked.phase(name)
    return Job(phase, start, tokenizer, rows, asked.run / name, asked.adapter, asked.micro_batch)


def _with_tokenizer(ingredients: list[Ingredient], final: Path) -> list[Ingredient]:
    """Give the first checkpoint the files that make a result whole: what the trainer saved may lack some."""
    first = ingredients[0].folder
    for name in (
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "generation_config.json",
    ):
        if (final / name).is_file() and final != first:
            shutil.copyfile(final / name, first / name)
    return ingredients


def _mixed(results: dict[str, Path], weight: Fraction) -> list[Ingredient]:
    parts = [Ingredient(results["soup"], weight), Ingredient(results["mid"], 1 - weight)]
    return [part for part in parts if part.weight]


def _tokenizer(asked: Asked) -> Path:
    """Write the tokenizer's folder; always, because the template may have changed: 2 s."""
    if asked.tokenizer is not None:
        return asked.tokenizer
    folder = asked.home / "tokenizer"
    write_tokenizer(folder)
    return folder


def _rows(asked: Asked, recipe: RowsRecipe, tokenizer: Path) -> RowsData:
    source: RowSource
    if asked.rows is not None:
        source = FolderSource(asked.rows, recipe)
    elif asked.profile == "sample":
        source = FolderSource(sample_folder(asked.build), recipe, "sample")
    else:
        source = HubSource(recipe)
    folder = asked.home / "rows" / recipe.name
    return build_rows(
        recipe,
        source,
        folder,
        tokenizer=tokenizer,
        validation=asked.validation,
        evaluations=asked.evaluations,
    )


def _facts(
    asked: Asked,
    results: dict[str, Path],
    rows: dict[str, RowsData],
    recipes: dict[str, RowsRecipe],
    tokenizer: Path,
    logs: dict[str, Any],
) -> dict[str, Any]:
    longest = asked.phase("sft").max_length

    prompts = None
    if asked.ruler is not None:
        out = asked.run / "ruler" / digest_values(asdict(asked.ruler), xxh3_128(tokenizer / "tokenizer.json"))
        prompts = build_prompts(asked.ruler, asked.build, asked.profile, tokenizer, out)

    def measured(checkpoint: Path) -> dict[str, Any]:
        found = _measured(asked, checkpoint, rows, recipes, tokenizer, longest)
        return found | ({"ruler": _ruler(asked, checkpoint, prompts, tokenizer)} if prompts else {})

    sweep = []
    known = {Fraction(0): results["mid"], Fraction(1): results["soup"], SOUP_WEIGHT: results["merged"]}
    for weight in SWEEP:
        name = fraction_text(weight)
        mixed = asked.run / "sweep" / name.replace("/", "of")
        folder = known.get(weight) or merge(_mixed(results, weight), mixed)
        sweep.append({"soup_weight": name, **measured(folder)})
    return {
        "format_version": 1,
        "preset": asked.preset,
        "profile": asked.profile,
        "base": asked.base.name,
        "phases": {name: {**log, "rows": rows[name].facts["modes"]} for name, log in logs.items()},
        "measures": {name: measured(folder) for name, folder in results.items()},
        "sweep": sweep,
    }


def _ruler(asked: Asked, checkpoint: Path, prompts: Path, tokenizer: Path) -> dict[str, Any]:
    """Return a checkpoint's RULER scores, or what was kept for the same weights and prompts."""
    weights = [xxh3_128(path) for path in sorted(checkpoint.glob("model*.safetensors"))]
    key = digest_values("ruler", weights, xxh3_128(prompts / "manifest.json"))
    path = asked.run / "measures" / f"{key}.json"
    if not path.is_file():
        write_json(path, ruler_scores(checkpoint, prompts, tokenizer, asked.run / "scores"))
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def _measured(
    asked: Asked,
    checkpoint: Path,
    rows: dict[str, RowsData],
    recipes: dict[str, RowsRecipe],
    tokenizer: Path,
    longest: int,
) -> dict[str, Any]:
    """Measure a checkpoint, or read what was measured with the same inputs."""
    from smoltrain.post.measure import VERSION, measure

    weights = [xxh3_128(path) for path in sorted(checkpoint.glob("model*.safetensors"))]
    inputs = [rows[name].facts["input_hash"] for name in ("sft", "apo")]
    key = digest_values(VERSION, weights, inputs, asked.measured_rows, longest)
    path = asked.run / "measures" / f"{key}.json"
    if path.is_file():
        kept: dict[str, Any] = json.loads(path.read_bytes())
        return kept
    found = measure(
        checkpoint,
        tokenizer,
        (recipes["sft"], rows["sft"].validation),
        (recipes["apo"], rows["apo"].validation),
        limit=asked.measured_rows,
        max_length=longest,
    )
    write_json(path, found)
    return found
