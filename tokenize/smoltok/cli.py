"""The ``smoltok`` command: encode, build, engines, and the proofs.

Arguments in, work in the modules beside this one, tables or ``--json`` out. Nothing heavy is imported
before a command runs.
"""

import json
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoldata.console import progress, run_command, say, table
from smoldata.errors import EXIT_FAILED, InputError
from smoltok.tokenizer import Tokenizer

if TYPE_CHECKING:
    from smoltok.build import BuildReport

app = typer.Typer(
    help="Documents to token shards, ids exact to the last token.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

TokenizerOption = Annotated[
    str, typer.Option("--tokenizer", help="llama-3.2, or the path of a tokenizer.json or of tiktoken ranks.")
]
EosOption = Annotated[
    str | None,
    typer.Option("--eos", help="End-of-document id or token, if the tokenizer's file does not tell it."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def encode(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; none: one text from standard input.")
    ] = None,
    tokenizer: TokenizerOption = "llama-3.2",
    eos: EosOption = None,
) -> None:
    """Print the ids of each text as one JSON list a line.

    Example: smoltok encode "Hello world"
    """
    from smoltok.encoding import encode as encode_texts

    given = texts or [sys.stdin.buffer.read().decode("utf-8", "surrogatepass")]
    for ids in encode_texts(given, tokenizer=_tokenizer(tokenizer, eos)):
        print(json.dumps(ids))


@app.command()
def build(
    documents: Annotated[Path, typer.Option(help="Folder that holds a folder of documents a source.")],
    tokens: Annotated[Path, typer.Option(help="Folder that gets a folder of shards a source.")],
    source: Annotated[
        list[str] | None, typer.Option(help="Source; again for more; none: all there are.")
    ] = None,
    tokenizer: TokenizerOption = "llama-3.2",
    eos: EosOption = None,
    validation_share: Annotated[str, typer.Option(help="Share of the documents held out.")] = "1/100",
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one a core.")] = 0,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Shuffle each training shard as datatrove does.")
    ] = None,
    chunk: Annotated[
        int | None, typer.Option(min=1, help="Shuffle chunks of so many tokens, such as 4097.")
    ] = None,
    keep_documents: Annotated[bool, typer.Option(help="Shuffle chunks only, not documents before.")] = False,
    drop_tail: Annotated[bool, typer.Option(help="Lose the last, shorter chunk as datatrove does.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tokenize documents into shards; what is current is kept, what is stale is made again.

    Example: smoltok build --documents build/sample/documents --tokens build/sample/tokens/llama-3.2
    """
    from dataclasses import asdict

    from smoltok.early import early_crew

    sources = source or _sources(documents)
    chosen = _tokenizer(tokenizer, eos)
    count = workers or _cores()
    with early_crew(sources, documents=documents, tokens=tokens, tokenizer=chosen, workers=count) as recruits:
        from smoltok.build import build_all
        from smoltok.ordering import DocumentOrder
        from smoltok.sources import document_files

        with progress(
            "tokenize", sum(f.documents for name in sources for f in document_files(documents / name))
        ) as advance:
            reports = build_all(
                sources,
                documents=documents,
                tokens=tokens,
                tokenizer=chosen,
                validation_share=_share(validation_share),
                workers=count,
                order=DocumentOrder(seed, documents=not keep_documents, chunk=chunk, drop_tail=drop_tail),
                advance=advance,
                recruits=recruits,
            )
    if as_json:
        print(json.dumps([asdict(report) for report in reports], indent=2))
    else:
        _print_reports(reports)


def _print_reports(reports: "list[BuildReport]") -> None:
    for report in reports:
        for path, reason in report.reasons:
            say(f"{report.source}/{path}: {reason}")
    columns = ("source", "shards", "made", "documents", "tokens", "bytes a token")
    rows = [
        (
            r.source,
            r.shards,
            r.made,
            f"{r.documents:,}",
            f"{r.tokens:,}",
            f"{r.text_bytes / max(r.tokens, 1):.2f}",
        )
        for r in reports
    ]
    table("token shards", columns, rows, right=columns[1:])


@app.command()
def engines(
    tokenizer: TokenizerOption = "llama-3.2",
    eos: EosOption = None,
    hub: Annotated[bool, typer.Option(help="Download the vocabulary if it is not found here.")] = False,
    again: Annotated[bool, typer.Option(help="Test again, whatever was found before.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the engines with the reference on the hard list, and say which one is used.

    Example: smoltok engines --again
    """
    from dataclasses import asdict

    from smoltok.engines import ENGINES, Reference
    from smoltok.selftest import choose, judge
    from smoltok.vocabulary import load_ranks

    chosen = _tokenizer(tokenizer, eos)
    if hub:
        load_ranks(chosen, hub=True)
    verdicts = [judge(chosen, name, again=again) for name in ENGINES if name != Reference.name]
    used = choose(chosen)
    if as_json:
        print(json.dumps({"used": used, "verdicts": [asdict(verdict) for verdict in verdicts]}, indent=2))
        return
    rows = [
        (
            v.engine,
            v.version,
            f"{v.texts:,}",
            v.error or f"{v.differences:,}",
            "used" if v.engine == used else "",
        )
        for v in verdicts
    ]
    table(
        f"engines for {chosen.name}",
        ("engine", "version", "texts", "differences", ""),
        rows,
        right=("texts",),
    )


@app.command()
def prove(
    strings: Annotated[int, typer.Option(min=0, help="Generated strings to compare.")] = 10_000_000,
    seed: Annotated[int, typer.Option(help="Of the generated strings.")] = 0,
    scalar_step: Annotated[int, typer.Option(min=1, help="Compare every so many-th Unicode scalar.")] = 1,
    documents: Annotated[Path | None, typer.Option(help="Compare all documents of this folder too.")] = None,
    tokens: Annotated[Path | None, typer.Option(help="Decode the shards of this folder back too.")] = None,
    tokenizer: TokenizerOption = "llama-3.2",
    eos: EosOption = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one a core.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare independent encoders on generated strings, all Unicode scalars and documents.

    Exits 1 if any two differ.

    Example: smoltok prove --strings 100000 --documents build/sample/documents
    """
    from smoltok.prove import proof

    report = proof(
        _tokenizer(tokenizer, eos),
        total=strings,
        seed=seed,
        scalar_step=scalar_step,
        documents=documents,
        tokens=tokens,
        workers=workers or _cores(),
    )
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        columns = ("family", "texts", "bytes", "tokens", "differences", "first difference")
        rows = [
            (c.family, f"{c.texts:,}", f"{c.bytes:,}", f"{c.tokens:,}", f"{c.differences:,}", c.example)
            for c in (*report.compared, report.total)
        ]
        table(f"{' = '.join(report.total.engines)}?", columns, rows, right=columns[1:5])
        if tokens is not None:
            say(f"decoded back from shards, byte for byte: {report.decoded_bytes:,} bytes of text")
    if report.total.differences:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def verify(
    folders: Annotated[list[Path], typer.Argument(help="Token folders, of a source or of many.")],
    as_json: JsonOption = False,
) -> None:
    """Check finished shards byte by byte and token by token; exit 1 and say where if anything is wrong.

    Example: smoltok verify build/sample/tokens/llama-3.2
    """
    from dataclasses import asdict

    from smoltok.verify import verify as verify_folders

    report = verify_folders(folders)
    if as_json:
        print(json.dumps(asdict(report), indent=2))
    else:
        for finding in report.findings:
            print(f"{finding.path}: {finding.code}: {finding.message}")
        say(
            f"{report.shards:,} shards, {report.documents:,} documents, {report.tokens:,} tokens, "
            f"{report.bytes:,} bytes: {len(report.findings)} findings"
        )
    if report.findings:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder that gets the tokenizer.")],
    llama: Annotated[bool, typer.Option(help="Llama-3.2's names instead of SmolLM3's.")] = False,
    chat: Annotated[
        bool, typer.Option(help="End sequences with <|im_end|>, as the instruct model does.")
    ] = False,
    template: Annotated[Path | None, typer.Option(help="Jinja chat template to ship along.")] = None,
) -> None:
    """Write the tokenizer as a Hugging Face folder, control tokens included, to load offline.

    Example: smoltok export build/tokenizer --chat
    """
    from smoltok.export import export as export_folder

    text = template.read_text(encoding="utf-8") if template else None
    export_folder(folder, "llama-3.2" if llama else "smollm3", chat=chat, template=text)
    say(f"wrote {folder}: AutoTokenizer.from_pretrained({str(folder)!r})")


@app.command("import")
def import_(
    kind: Annotated[
        str, typer.Argument(help="megatron (.bin and .idx), numpy (.npy, flat .bin) or mds (folder).")
    ],
    files: Annotated[list[Path], typer.Argument(help="Token files.")],
    source: Annotated[str, typer.Option(help="Name of the source that they become.")],
    tokens: Annotated[Path, typer.Option(help="Folder that holds a folder of shards a source.")],
    dtype: Annotated[
        str, typer.Option(help="NumPy type of headerless files, and of MDS columns stored as bytes.")
    ] = "<u2",
    tokenizer: TokenizerOption = "llama-3.2",
    eos: EosOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make token files of others a source: linked where their layout allows, counted, provenance unknown.

    Example: smoltok import megatron corpus.bin --source corpus --tokens build/sample/tokens/llama-3.2
    """
    from dataclasses import asdict

    from smoltok.importing import import_shards

    chosen = _tokenizer(tokenizer, eos)
    found = import_shards(kind, files, source=source, tokens=tokens, tokenizer=chosen, dtype=dtype)
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2))
        return
    columns = ("file", "tokens", "documents", "BOS", "missing EOS", "highest id", "linked, or why copied")
    counts = [(f.tokens, f.documents, f.bos, f.missing_eos, f.highest_id) for f in found]
    rows = [
        (
            one.path,
            *(f"{number:,}" for number in numbers),
            "linked" if one.linked else f"copied: {one.why_copied}",
        )
        for one, numbers in zip(found, counts, strict=True)
    ]
    table(f"imported into {source}, provenance unknown", columns, rows, right=columns[1:6])


@app.command()
def compression(
    tokens: Annotated[Path, typer.Argument(help="Folder that holds a folder of shards a source.")],
    documents: Annotated[Path | None, typer.Option(help="Their documents: adds a table by language.")] = None,
    svg: Annotated[Path | None, typer.Option(help="File that gets a plot.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print characters and bytes a token by source, and by language.

    Example: smoltok compression build/sample/tokens/llama-3.2 --documents build/sample/documents
    """
    from dataclasses import asdict

    from smoldata.files import write_atomic
    from smoltok.compression import PUBLISHED, by_language, by_source, plot

    sources = _sources(tokens)
    tables = {"source": by_source(tokens, sources)}
    if documents is not None:
        tables["language"] = by_language(tokens, documents, sources)
    if svg is not None:
        write_atomic(svg, plot(list(tables.values())[-1], "Compression by " + list(tables)[-1]))
    if as_json:
        print(json.dumps({name: [asdict(row) for row in rows] for name, rows in tables.items()}, indent=2))
        return
    columns = ("documents", "tokens", "characters a token", "bytes a token")
    for name, found in tables.items():
        rows = [
            (
                row.group,
                f"{row.documents:,}",
                f"{row.tokens:,}",
                f"{row.characters_a_token:.3f}",
                f"{row.bytes_a_token:.3f}",
            )
            for row in found
        ]
        table(f"compression by {name}", (name, *columns), rows, right=columns)
    say(
        f"published for English: {PUBLISHED} characters a token, on text that is not published. Here: all "
        "text of these shards, tokens without the EOS; markup, code and digits lower the figure."
    )


def _tokenizer(name: str, eos: str | None) -> Tokenizer:
    from smoltok.tokenizer import resolve

    return resolve(name, eos=int(eos) if eos is not None and eos.isdigit() else eos)


def _sources(documents: Path) -> list[str]:
    found = sorted(path.parent.name for path in documents.glob("*/manifest.parquet"))
    if not found:
        raise InputError(f"no source under {documents}: a source is a folder with a manifest.parquet")
    return found


def _share(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"validation share {text!r} is no number; give it as 1/100 or 0.01") from error


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Run the command line."""
    run_command(app)
