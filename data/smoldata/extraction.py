"""Steps on web pages: which addresses are refused, the text of a page, its formulas kept, odd bytes mended.

Factories as :mod:`smoldata.steps` wants them; trafilatura, ftfy and datatrove are imported when a step is
made. A page's text depends on the page alone: trafilatura's memory of earlier pages is cleared before each
(its ``deduplicate`` would drop a paragraph that another page had, so that texts would depend on the order and
the number of tasks), and there is no time limit unless one is asked for.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from smoldata.steps import FILTER_REASON, StepContext, StepSettings

if TYPE_CHECKING:
    from datatrove.pipeline.base import PipelineStep


class UrlSettings(StepSettings):
    """datatrove's lists (in its package), and one's own."""

    soft_word_threshold: int = 2
    lists: bool = True
    """datatrove's lists of 4.6 million domains: 4 CPU seconds to load, 0.8 GB of memory a process."""
    extra_domains: tuple[str, ...] = ()
    extra_urls: tuple[str, ...] = ()


def url_filter(settings: UrlSettings, _context: StepContext) -> "PipelineStep":
    """Drop pages by their address, with datatrove's reasons; pages without one as ``no_url``."""
    from datatrove.pipeline.filters import URLFilter
    from tldextract import TLDExtract

    class Urls(URLFilter):  # type: ignore[misc] # datatrove ships no types
        def filter(self, document: Any) -> Any:
            return super().filter(document) if document.metadata.get("url") else (False, "no_url")

    made = Urls(
        soft_word_threshold=settings.soft_word_threshold,
        use_integrated_lists=settings.lists,
        extra_domains=settings.extra_domains or None,
        extra_urls=settings.extra_urls or None,
    )
    # The list of public suffixes in the package: the same everywhere, and nothing is fetched.
    made.tldextractor = TLDExtract(suffix_list_urls=(), cache_dir=None)
    return made


class PageSettings(StepSettings):
    """trafilatura's options."""

    favour_precision: bool = True
    formulas: bool = False
    """Write formulas as LaTeX before the text is extracted."""
    most_bytes: Annotated[int, Field(ge=1)] = 20_000_000
    """Larger pages are dropped as ``too_large`` (trafilatura's own limit)."""
    seconds: Annotated[float, Field(gt=0)] | None = None
    """Give up after so long, in a process of its own. Then the documents depend on the machine's speed."""


def page_text(settings: PageSettings, _context: StepContext) -> "PipelineStep":
    """Replace HTML by its main text.

    Drops: ``no_main_text``, ``too_large``, ``extraction_failed``, ``timeout``.
    """
    from datatrove.pipeline.base import PipelineStep

    class PageText(PipelineStep):  # type: ignore[misc]
        type = "🛢 - EXTRAC"
        name = "page_text"

        def run(self, data: Any, _rank: int = 0, _world_size: int = 1) -> Iterator[Any]:
            with _runner(settings.seconds) as extract:
                for document in data:
                    reason = self._replace(document, extract)
                    if reason:
                        document.metadata[FILTER_REASON] = reason
                    else:
                        yield document

        def _replace(self, document: Any, extract: Any) -> str:
            if len(document.text.encode()) > settings.most_bytes:
                return "too_large"
            try:
                text = extract(document.text, settings)
            except TimeoutError:
                return "timeout"
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError, EOFError):
                # trafilatura and lxml raise these on odd trees; another error is a fault of ours and stops.
                return "extraction_failed"
            document.text = text or ""
            return "" if text else "no_main_text"

    return PageText()


def extract_text(page: str, settings: PageSettings) -> str | None:
    """Return the main text of a page; a function of the page and the settings alone."""
    from trafilatura import extract
    from trafilatura.deduplication import LRU_TEST

    if settings.formulas:
        from smoldata.kinds.formulas import with_latex

        page = with_latex(page)
    LRU_TEST.clear()
    text = extract(
        page,
        favor_precision=settings.favour_precision,
        include_comments=False,
        deduplicate=True,
    )
    return str(text) if text else None


class _runner:  # noqa: N801 - a context manager used as a function
    """Calls the extractor here, or in a process that is given up after some seconds."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.sandbox: Any = None

    def __enter__(self) -> Any:
        if self.seconds is None:
            return extract_text
        from datatrove.pipeline.extractors.base import ExtractorSandbox

        self.sandbox = ExtractorSandbox(self.seconds, warmup_text=("", PageSettings())).__enter__()
        return lambda page, settings: self.sandbox.process_document((page, settings), extract_text)

    def __exit__(self, *error: object) -> None:
        if self.sandbox is not None:
            self.sandbox.__exit__(*error)


class NoSettings(StepSettings):
    """Nothing to set."""


def fix_encoding(_settings: NoSettings, _context: StepContext) -> "PipelineStep":
    """Mend text that was decoded wrongly (ftfy)."""
    from datatrove.pipeline.formatters import FTFYFormatter

    return FTFYFormatter()


class SymbolLines(StepSettings):
    """Lines that hold nothing but these symbols are removed."""

    symbols: tuple[str, ...] = ("|",)
    replace: str = "\n"


def symbol_lines(settings: SymbolLines, _context: StepContext) -> "PipelineStep":
    """Remove what is left of tables."""
    from datatrove.pipeline.formatters import SymbolLinesFormatter

    return SymbolLinesFormatter(symbols_to_remove=list(settings.symbols), replace_char=settings.replace)


class PiiSettings(StepSettings):
    """datatrove's replacements."""

    emails: bool = True
    addresses: bool = True


def pii(settings: PiiSettings, _context: StepContext) -> "PipelineStep":
    """Replace e-mail addresses and public IP addresses by examples; the same text gives the same text."""
    from datatrove.pipeline.formatters import PIIFormatter

    class Replaced(PIIFormatter):  # type: ignore[misc] # datatrove ships no types
        def format(self, text: str) -> str:
            # Replacements are used in turn; each document starts with the first, whatever came before it.
            self.emails_replacer._replace_i = self.ip_replacer._replace_i = 0  # noqa: SLF001 - no public way
            return str(super().format(text))

    return Replaced(remove_emails=settings.emails, remove_ips=settings.addresses)
