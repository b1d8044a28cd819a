"""The conversations of a recipe -> its token shards in ChatML: what `make mixture STAGE=mid` needs first.

Which sources: those of kind ``chat`` in the recipe. Where their rows come from: a location of one's own, else
the hub, or with the profile ``sample`` the conversations of the pinned packages. Rendered as
:mod:`smoltrain.traces` does; ``smolmix build`` then finds the shards and makes no documents of those sources.
Cost: the hub's files are read once, streaming; the sample is 18 MB to fetch and 3 s.
"""

import sys
from collections.abc import Iterator

from smoldata.errors import InputError, SourceError
from smoldata.estimate import estimate_build, show_estimate
from smoldata.files import xxh3_128
from smoldata.inputs import list_inputs
from smoldata.pipeline_types import Limit, RawInput
from smoldata.registry import Source
from smolmix.build import Job, Request, read_job, tokens_folder
from smoltok.tokenizer import resolve
from smoltrain.traces import Report, write_shards


def render_recipe(request: Request) -> Iterator[Report]:
    """Write the shards of a recipe's conversations, a source at a time; yield what became of each.

    Raises :class:`InputError` if the recipe has none or the hub's size was not agreed to,
    :class:`SourceError` naming file and line where rows cannot be read.
    """
    job = read_job(request)
    sources = [source for source in map(job.registry.source, job.names) if source.kind == "chat"]
    if not sources:
        raise InputError(f"recipe {job.recipe.name} has no source of kind chat: nothing to render")
    limit = Limit(bytes=request.limit_bytes, tokens=request.limit_tokens)
    _agree([one for one in sources if one.location is None], job, limit)
    choice = job.recipe.tokenizer
    place = job.recipe.path.parent / choice.path if choice.path else choice.name
    tokenizer = resolve(place, eos=choice.eos_id, name=choice.name)
    for source in sources:
        files = rows_of(source, job)
        if files:
            yield write_shards(
                files,
                source=source.name,
                tokens=tokens_folder(job),
                tokenizer=tokenizer,
                validation_share=job.effective.validation,
                limit=limit,
            )


def rows_of(source: Source, job: Job) -> list[RawInput]:
    """Return the files that hold a source's conversations; none if the sample has no such rows."""
    request = job.request
    if request.profile != "sample" or source.location is not None:
        return list_inputs(source, job.registry, request.profile, request.build)
    from smoltrain.post.sources import sample_folder

    found = sorted(sample_folder(request.build).glob(f"*/{source.name}.parquet"))
    return [RawInput(str(path), path.name, path.stat().st_size, xxh3_128(path), None) for path in found]


def _agree(sources: list[Source], job: Job, limit: Limit) -> None:
    """Show what reading the hub needs, and go on only with a yes."""
    request = job.request
    if request.profile == "full":
        raise SourceError("profile full has no data; profiles with conversations: sample, hub")
    if request.profile == "sample" or not sources:
        return
    there = [one for one in sources if (tokens_folder(job) / one.name / "manifest.parquet").is_file()]
    if len(there) == len(sources):
        return
    show_estimate(estimate_build(sources, request.build, "hub", limit))
    if request.assume_yes:
        return
    if not sys.stdin.isatty():
        raise InputError("nobody is at the terminal to say yes: run it again with YES=1 (--yes)")
    print("Read this from the hub? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise InputError("not confirmed: nothing was read")
