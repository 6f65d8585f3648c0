"""Charts as SVG: horizontal bars over a labelled axis, readable on light and dark pages."""

import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from bench.figures import write_number
from bench.report import Bar, Chart

WIDTH, LEFT, RIGHT, TOP, ROW, BOTTOM = 860, 340, 80, 52, 30, 56
BAR_HEIGHT = 18
OURS, OTHERS, INK, FAINT, PAPER = "#1f6feb", "#9aa4b2", "#1f2328", "#d0d7de", "#ffffff"
TICKS = 5
FONT = "font-family='system-ui, sans-serif' font-size='13'"


def draw_chart(chart: Chart) -> str:
    """The chart as an SVG document."""
    height = TOP + ROW * len(chart.bars) + BOTTOM
    scale = _Scale([bar.value for bar in chart.bars], logarithmic=chart.logarithmic)
    parts = [
        *_draw_axis(scale, chart, bottom=height - BOTTOM),
        *(part for row, bar in enumerate(chart.bars) for part in _draw_bar(bar, row, scale)),
    ]
    label = quoteattr(f"{chart.title}: " + "; ".join(map(_describe, chart.bars)))
    size = f"viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}'"
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img' aria-label={label} {FONT}>",
        f"<rect width='{WIDTH}' height='{height}' fill='{PAPER}'/>",
        _write(20, 28, chart.title, weight="600"),
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _describe(bar: Bar) -> str:
    return f"{bar.label} {write_number(bar.value)}"


class _Scale:
    """Where values are between the axis' ends, and which of them are marked."""

    def __init__(self, values: Sequence[float], *, logarithmic: bool) -> None:
        self._logarithmic = logarithmic
        if logarithmic:
            low = math.ceil(math.log10(min(values))) - 1  # below the shortest bar
            high = max(math.ceil(math.log10(max(values))), low + 1)
            self.ticks = [10.0**power for power in range(low, high + 1)]
        else:
            step = _round_up(max(values) / TICKS)
            count = max(math.ceil(max(values) / step), 1)
            self.ticks = [step * number for number in range(count + 1)]

    def place(self, value: float) -> float:
        """The value's horizontal position."""
        low, high, at = self.ticks[0], self.ticks[-1], value
        if self._logarithmic:
            low, high, at = math.log10(low), math.log10(high), math.log10(value)
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - low) / (high - low)


def _round_up(step: float) -> float:
    """The next of 1, 2, 5 × a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step)


def _draw_axis(scale: _Scale, chart: Chart, *, bottom: int) -> Iterator[str]:
    for tick in scale.ticks:
        x = scale.place(tick)
        yield f"<path d='M{x:.1f} {TOP - 6}V{bottom}' stroke='{FAINT}'/>"
        yield _write(x, bottom + 18, write_number(tick), anchor="middle")
    yield _write((LEFT + WIDTH - RIGHT) / 2, bottom + 42, chart.axis, anchor="middle")


def _draw_bar(bar: Bar, row: int, scale: _Scale) -> Iterator[str]:
    y = TOP + ROW * row
    end = scale.place(bar.value)
    yield _write(LEFT - 10, y + 14, bar.label, anchor="end")
    yield (
        f"<rect x='{LEFT}' y='{y}' width='{max(end - LEFT, 1):.1f}' height='{BAR_HEIGHT}' "
        f"fill='{OURS if bar.ours else OTHERS}'/>"
    )
    yield _write(end + 6, y + 14, write_number(bar.value), weight="600")


def _write(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "400") -> str:
    return (
        f"<text x='{x:.1f}' y='{y}' text-anchor='{anchor}' font-weight='{weight}' fill='{INK}'>"
        f"{escape(text)}</text>"
    )
