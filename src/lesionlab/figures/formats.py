"""Numbers as people read them: the same rounding in Markdown, LaTeX, HTML and figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

MISSING = "–"  # stands where there is no value
SMALLEST_P = 0.001  # smaller p-values are written as a bound


def decimals_for(values: Iterable[float], significant: int = 3, most: int = 5) -> int:
    """Decimals that give the largest of the values ``significant`` digits: 3 for 0.81, 1 for 23.4, 0 for 512.

    Values from 0.01 to 1 all take three, so that Dice scores look alike; where all are smaller, ``most``.
    Whole numbers take none.
    """
    finite = [abs(float(value)) for value in values if value is not None and math.isfinite(value)]
    largest = max(finite, default=0.0)
    if 0 < largest < 0.01:
        return most
    if all(value == round(value) for value in finite):
        return 0  # counts
    # A score of exactly 1 keeps the decimals of its neighbours, hence "<=".
    digits_before = 0 if largest <= 1 else math.floor(math.log10(largest)) + 1
    return min(most, max(0, significant - digits_before))


def number(value: object, decimals: int = 3) -> str:
    """A number with fixed decimals; ``MISSING`` for None and NaN; infinities in words."""
    if not isinstance(value, (int, float)) and not hasattr(value, "__float__"):
        return MISSING
    real = float(value)  # type: ignore[arg-type]
    if math.isnan(real):
        return MISSING
    if math.isinf(real):
        return "infinite" if real > 0 else "-infinite"
    text = f"{real:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text  # no "-0.000"


def signed(value: float, decimals: int = 3) -> str:
    """A difference with its sign, ``+0.012`` or ``−0.012``; zero carries none."""
    text = number(value, decimals)
    return f"+{text}" if math.isfinite(value) and float(text) > 0 else text.replace("-", "\N{MINUS SIGN}")


def interval(low: float, high: float, form: Callable[[float], str]) -> str:
    """``0.1 to 0.2``; the sign for "missing" where one subject leaves no interval."""
    return MISSING if math.isnan(low) or math.isnan(high) else f"{form(low)} to {form(high)}"


def p_value(value: float | None) -> str:
    """A p-value with three decimals, or ``<0.001``."""
    if value is None or math.isnan(value):
        return MISSING
    return f"<{SMALLEST_P}" if value < SMALLEST_P else f"{value:.3f}"


def whole(value: object) -> str:
    """A count; ``MISSING`` where there is none."""
    return number(value, 0)


def duration(seconds: float) -> str:
    """Seconds as ``8 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    total = round(seconds)
    if total < 60:
        return f"{total} s" if seconds >= 10 else f"{seconds:.1f} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"
