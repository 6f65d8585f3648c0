"""Figures of repeated measurements."""

from collections.abc import Sequence
from math import ceil, sqrt
from statistics import median


def pick_quantile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` (0 to 1) of the values do not exceed.

    Raises:
        ValueError: there is no value.
    """
    if not ascending:
        raise ValueError("no values")
    return ascending[max(ceil(len(ascending) * share) - 1, 0)]


def pair_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios ours ÷ theirs, taken pair by pair.

    What was measured side by side is compared side by side: a machine that slows down for a
    while slows both.
    """
    return median(mine / other for mine, other in zip(ours, theirs, strict=True))


def root_mean_square(values: Sequence[float]) -> float:
    """The standard error, where the values are errors."""
    return sqrt(sum(value * value for value in values) / len(values))


def write_number(value: float) -> str:
    """Three significant digits, thousands grouped: 12,300 · 12.3 · 0.0123."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return f"{float(text):f}".rstrip("0").rstrip(".") if "e" in text else text
