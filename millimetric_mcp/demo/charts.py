"""Numbers as bars, in text that fits 80 columns and any encoding."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ink:
    """The characters that pictures are made of: ``steps`` fill one cell from empty to full."""

    full: str
    rest: str
    steps: str
    arrow: str
    right: str
    wrong: str


BLOCKS = Ink(full="█", rest="░", steps=" ▁▂▃▄▅▆▇█", arrow="→", right="✓", wrong="✗")
ASCII = Ink(full="#", rest=".", steps=" .:#", arrow="->", right="ok", wrong="WRONG:")


def choose_ink(encoding: str) -> Ink:
    """Block characters where ``encoding`` has them."""
    try:
        "".join((BLOCKS.full, BLOCKS.rest, BLOCKS.steps, BLOCKS.arrow, BLOCKS.right)).encode(
            encoding
        )
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def draw_bar(value: float, *, most: float, width: int, ink: Ink) -> str:
    """A bar as long as ``value`` is of ``most``; anything above 0 shows."""
    cells = round(width * value / most) if most else 0
    return ink.full * max(cells, 1 if value else 0)


def draw_split(share: float, *, width: int, ink: Ink) -> tuple[str, str]:
    """A bar cut in two at ``share`` (0 to 1): its first and its second part."""
    cells = round(width * share)
    return ink.full * cells, ink.rest * (width - cells)


def draw_columns(values: Sequence[float], *, height: int, width: int, ink: Ink) -> list[str]:
    """Standing bars, one a value and ``width`` wide with a gap, top line first."""
    most, levels = max(values, default=0), len(ink.steps) - 1
    filled = [round(height * levels * value / most) if most else 0 for value in values]
    lines = []
    for row in reversed(range(height)):
        cells = (ink.steps[min(max(fill - row * levels, 0), levels)] for fill in filled)
        lines.append("".join(cell * (width - 1) + " " for cell in cells).rstrip())
    return lines


def draw_axis(labels: Sequence[str], *, width: int) -> str:
    """A line of labels under columns of ``width``; one that would touch the last is left out."""
    line = ""
    for place, label in enumerate(labels):
        if label and (not line or len(line) < place * width):
            line = line.ljust(place * width) + label
    return line
