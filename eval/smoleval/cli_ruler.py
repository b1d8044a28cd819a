"""smoleval ruler: prompts of any length, predictions, scores. Nothing heavy is imported at the start."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smoleval.cli_options import BUILD, Build, Device, Json, Out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smoleval.scores import Score

app = typer.Typer(
    no_args_is_help=True,
    help="RULER: thirteen long-context tasks, generated at any length, scored as published.",
)
Chat = Annotated[bool, typer.Option(help="Ask through the checkpoint's chat template, thinking off.")]


@app.command("build")
def build_prompts(
    length: Annotated[
        str, typer.Option(help="Tokens, answer included; several with commas: 32k,64k.")
    ] = "4k",
    tasks: Annotated[str, typer.Option(help="Names with commas, or all.")] = "all",
    count: Annotated[int, typer.Option(min=1, help="Prompts a task; RULER has 500.")] = 500,
    seed: Annotated[int, typer.Option(help="Another seed, other prompts.")] = 42,
    tokenizer: Annotated[str, typer.Option(help="llama-3.2, or a tokenizer file.")] = "llama-3.2",
    filler: Annotated[
        Path | None,
        typer.Option(help="Running text: RULER's essays (default: English documents of --build)."),
    ] = None,
    qa_1: Annotated[
        str | None, typer.Option("--qa-1", help="SQuAD 2.0 file; or JSON lines with passages.")
    ] = None,
    qa_2: Annotated[
        str | None, typer.Option("--qa-2", help="HotpotQA file with distractors; or JSON lines.")
    ] = None,
    chat: Annotated[
        Path | None, typer.Option(help="Checkpoint whose chat template's tokens count in the length.")
    ] = None,
    build: Build = BUILD,
    profile: Annotated[str, typer.Option(help="Whose documents are the running text.")] = "sample",
    out: Annotated[Path | None, typer.Option(help="Folder (default: <build>/<profile>/ruler).")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    as_json: Json = False,
) -> None:
    """Write RULER prompts whose lengths are exact, and a manifest of what they are made of.

    Example: smoleval ruler build --length 32k,64k --tasks all --count 100
    """
    from smoleval.ruler.build import Spec
    from smoleval.ruler.build import build as write
    from smoleval.ruler.tasks import parse_length, parse_tasks

    wanted, lengths = parse_tasks(tasks), [parse_length(one) for one in length.split(",")]
    extra = 0
    if chat is not None:
        from smoleval.ruler.generate import template_tokens

        extra = template_tokens(chat)
    sets = tuple((name, path) for name, path in (("squad", qa_1), ("hotpotqa", qa_2)) if path)
    folder, text = out or build / profile / "ruler", str(filler or "")
    common = (count, seed, tokenizer, text, sets, str(build), profile, extra)
    manifests = [write(Spec(one, *common), wanted, folder, workers) for one in lengths]
    _show_manifests(manifests, folder, as_json=as_json)


def _show_manifests(manifests: "Sequence[dict[str, Any]]", folder: Path, *, as_json: bool) -> None:
    import json

    from smoldata.console import say, table
    from smoleval.ruler.tasks import length_name

    if as_json:
        print(json.dumps(manifests, indent=2))
        return
    rows = [
        [length_name(made["length"]), name, one["rows"], f"{one['shortest']:,}", f"{one['longest']:,}"]
        for made in manifests
        for name, one in made["tasks"].items()
    ]
    heads = ["length", "task", "prompts", "shortest", "longest"]
    table("RULER prompts, tokens with the reserved answer", heads, rows, right=heads[2:])
    for name, why in manifests[0]["missing"].items():
        say(f"left out: {name}: {why}")
    for difference in manifests[0]["differs"]:
        say(f"not comparable with published figures: {difference}")
    say(f"prompts: {folder}")


@app.command("run")
def run_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint in Hugging Face form, or a run.")],
    data: Annotated[
        list[Path], typer.Option(help="A folder of prompts, such as build/sample/ruler/4k; again for more.")
    ],
    chat: Chat = False,
    device: Device = "auto",
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16 or float16 (default: bfloat16 on cuda).")
    ] = "",
    tokenizer: Annotated[str, typer.Option(help="The prompts' tokenizer file, if it is not shipped.")] = "",
    build: Build = BUILD,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Let a checkpoint answer RULER prompts, and score it; what is answered already is kept.

    Example: smoleval ruler run build/sample/runs/<run> --data build/sample/ruler/4k
    """
    from smoldata.console import progress
    from smoltrain.cli import need_torch

    need_torch()
    from smoleval.cli import newest_checkpoint
    from smoleval.engine import device_of, dtype_of
    from smoleval.ruler.generate import Running, run
    from smoleval.ruler.score import read_manifest
    from smoleval.scores import save_scores, scores_folder

    device = device_of(device)
    precision = dtype_of(precision or "auto", device)
    folder = newest_checkpoint(checkpoint)
    found: list[Score] = []
    for prompts in data:
        with progress(f"RULER {prompts.name}", len(read_manifest(prompts)["tasks"])) as advance:
            scores, _ = run(folder, prompts, Running(chat, device, precision, tokenizer), advance)
        save_scores(scores, out or scores_folder(folder, build))
        found += scores
    _show(found, as_json=as_json)


@app.command("score")
def score_files(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint that made the predictions.")],
    data: Annotated[Path, typer.Option(help="The folder of prompts.")],
    predictions: Annotated[Path, typer.Option(help="Folder of <task>.jsonl with index and pred.")],
    engine: Annotated[str, typer.Option(help="Program and version that made them, such as 'vllm 0.9.1'.")],
    chat: Chat = False,
    build: Build = BUILD,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Score predictions that another program made of the prompts.

    Example: smoleval ruler score my-model --data build/sample/ruler/4k --predictions out --engine "vllm 0.9"
    """
    from smoleval.ruler.score import score_predictions
    from smoleval.scores import save_scores, scores_folder

    scores = score_predictions(
        data, predictions, checkpoint, engine, {"chat": chat}, "no_think" if chat else ""
    )
    save_scores(scores, out or scores_folder(checkpoint, build))
    _show(scores, as_json=as_json)


def _show(scores: "Sequence[Score]", *, as_json: bool) -> None:
    import json

    from smoldata.console import table
    from smoleval.scores import as_row

    if as_json:
        print(json.dumps([as_row(score) for score in scores], indent=2))
        return
    rows = []
    for score in scores:
        error = "" if score.stderr is None else f"{100 * score.stderr:.2f}"
        rows.append([score.task, score.subset or "(mean)", score.items, f"{100 * score.value:.2f}", error])
    heads = ["length", "task", "prompts", "score", "standard error"]
    table(f"RULER of {scores[0].checkpoint}, per cent", heads, rows, right=heads[2:])
