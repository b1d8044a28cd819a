"""Text literals of a recipe as exact numbers: ``85%``, ``0.333``, ``12/100``; ``2T``, ``748000 steps``.

A literal is parsed digit by digit into a :class:`~fractions.Fraction` or an ``int``; no float exists on the
way, so ``0.1`` is one tenth. Cost: microseconds a literal.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from smoldata.errors import RecipeError

_DECIMAL = r"\d+(?:\.\d+)?"
_SHARE = re.compile(
    rf"(?P<percent>{_DECIMAL})\s*%|(?P<decimal>{_DECIMAL})|(?P<top>\d+)\s*/\s*(?P<bottom>\d+)"
)
_AMOUNT = re.compile(
    r"(?P<number>\d+(?:[,_]\d{3})*(?:\.\d+)?)\s*(?P<scale>[KMBT]?)\s*(?P<unit>tokens?|steps?|windows?)?",
    re.IGNORECASE,
)
_SCALES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_MAX_DIGITS = 60
"""Longer literals are typing accidents; the limit keeps a hostile recipe from costing time."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a stage trains on, as the recipe says it."""

    amount: int
    """Number of ``unit``."""
    unit: str
    """``tokens``, ``steps`` or ``windows``."""
    text: str
    """The literal as written."""

    def tokens(self, sequence_length: int, batch_windows: int) -> int:
        """Return the tokens asked for (a window counts ``sequence_length`` tokens)."""
        per_unit = {
            "tokens": 1,
            "windows": sequence_length,
            "steps": sequence_length * batch_windows,
        }
        return self.amount * per_unit[self.unit]


def parse_share(text: str) -> Fraction:
    """Return a share or weight literal as an exact positive fraction.

    >>> parse_share("85%"), parse_share("0.333"), parse_share("12/75")
    (Fraction(17, 20), Fraction(333, 1000), Fraction(4, 25))

    Raises:
        RecipeError: the text is no such literal, or it is zero.
    """
    match = _SHARE.fullmatch(text.strip()) if len(text) <= _MAX_DIGITS else None
    if match is None:
        raise RecipeError(f"{text[:_MAX_DIGITS]!r} is not a weight; write 85%, 0.333 or 12/100")
    if match["bottom"] is not None:
        bottom = int(match["bottom"])
        if bottom == 0:
            raise RecipeError(f"{text!r} divides by zero; write 85%, 0.333 or 12/100")
        value = Fraction(int(match["top"]), bottom)
    elif match["percent"] is not None:
        value = Fraction(match["percent"]) / 100
    else:
        value = Fraction(match["decimal"])
    if value == 0:
        raise RecipeError(f"the weight {text!r} is zero; remove the member instead")
    return value


def parse_budget(text: str) -> Budget:
    """Return a budget literal: ``100B``, ``1.1T tokens``, ``748000 steps``, ``5,000 windows``.

    A number without a unit counts tokens. K, M, B and T are powers of 1000.

    Raises:
        RecipeError: the text is no budget, or not a whole number of its unit.
    """
    match = _AMOUNT.fullmatch(text.strip()) if len(text) <= _MAX_DIGITS else None
    if match is None:
        raise RecipeError(
            f"{text[:_MAX_DIGITS]!r} is not a budget; write 100B, 1.1T, 748000 steps or 5000 windows"
        )
    exact = Fraction(re.sub(r"[,_]", "", match["number"])) * _SCALES[match["scale"].upper()]
    unit = (match["unit"] or "tokens").lower().rstrip("s") + "s"
    if exact.denominator != 1 or exact == 0:
        raise RecipeError(f"the budget {text!r} is {exact} {unit}; a whole number above zero is needed")
    return Budget(int(exact), unit, text.strip())


def fraction_text(value: Fraction) -> str:
    """Return ``p/q`` in lowest terms, also for whole numbers (``1/1``): how files write fractions."""
    return f"{value.numerator}/{value.denominator}"


def parse_fraction(text: str) -> Fraction:
    """Return the fraction of a file's ``p/q`` text.

    Raises:
        ValueError: the text is not of that form.
    """
    top, _, bottom = text.partition("/")
    return Fraction(int(top), int(bottom))


def decimal_text(value: Fraction, digits: int = 6) -> str:
    """Return ``value`` in decimal for people: exact if it ends within 12 digits, else rounded, with ``~``.

    >>> decimal_text(Fraction(20001, 20000)), decimal_text(Fraction(1, 3))
    ('1.00005', '~0.333333')
    """
    places = next((n for n in range(13) if 10**n % value.denominator == 0), None)
    shown = digits if places is None else places
    scaled = round(abs(value) * 10**shown)
    whole, part = divmod(scaled, 10**shown)
    sign = "-" if value < 0 else ""
    text = f"{sign}{whole}.{part:0{shown}d}" if shown else f"{sign}{whole}"
    return text if places is not None else f"~{text}"
