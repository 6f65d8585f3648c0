"""The demo's output: titles, tool calls, tables and charts as text."""

import json
from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from millimetric_mcp.demo.checks import Checks

INDENT = 2
CHART_HEIGHT, COLUMN_WIDTH = 5, 2
BAR_WIDTH, SPLIT_WIDTH = 16, 40
LEVELS = " ▁▂▃▄▅▆▇█"
SHOWN_MISMATCHES = 10
SHOWN_VALUE_CHARS = 56


class Report:
    """Writes to a console."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def write_title(self, text: str) -> None:
        self.console.print()
        self.console.print(Rule(Text(f"{text} ", style="bold"), align="left", style="dim"))

    def write(self, text: str | Text) -> None:
        """Write indented lines, wrapped to the console's width."""
        content = Text(text) if isinstance(text, str) else text
        for line in content.wrap(self.console, self.console.width - INDENT):
            line.rstrip()
            self.console.print(Text(" " * INDENT) + line)

    def write_done(self, text: str) -> None:
        self.write(Text.assemble(("✓ ", "bold green"), text))

    def write_call(self, tool: str, arguments: Mapping[str, object]) -> None:
        call = Text.assemble(("→ ", "dim"), (tool, "cyan"))
        for name, value in arguments.items():
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            call.append(f"  {name}=", style="dim").append(cut(shown, SHOWN_VALUE_CHARS))
        self.write(call)

    def write_checks(self, checks: Checks, summary: str) -> None:
        """Write that all values are correct, or the first that are not."""
        if not checks.mismatches:
            self.write_done(f"{summary} ({checks.correct:,} checked)")
        for sentence in checks.mismatches[:SHOWN_MISMATCHES]:
            self.write(Text.assemble(("✗ ", "bold red"), sentence))
        if len(checks.mismatches) > SHOWN_MISMATCHES:
            self.write(f"and {len(checks.mismatches) - SHOWN_MISMATCHES} more")

    def write_table(self, headings: Iterable[str], rows: Iterable[Sequence[str | int]]) -> None:
        """Write rows under headings; columns of integers are aligned right."""
        lines = list(rows)
        table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for column, heading in enumerate(headings):
            is_number = any(isinstance(line[column], int) for line in lines)
            table.add_column(heading, justify="right" if is_number else "left", no_wrap=True)
        for line in lines:
            table.add_row(*(Text(f"{x:,}" if isinstance(x, int) else x) for x in line))
        self.console.print(Padding(table, (0, 0, 0, INDENT), expand=False))

    def write_split(self, share: float, *, first: str, second: str) -> None:
        """Write a bar of two parts: ``share`` (0 to 1) of ``first``, the rest of ``second``."""
        cells = round(SPLIT_WIDTH * share)
        self.write(
            Text.assemble(
                ("█" * cells, "magenta"),
                ("░" * (SPLIT_WIDTH - cells), "blue"),
                (f" {share:.1%} {first}", "magenta"),
                (f", {1 - share:.1%} {second}", "blue"),
            )
        )

    def write_columns(self, values: Sequence[int], *, labels: Sequence[str]) -> None:
        """Write a column chart with the largest value as its scale."""
        scale = f"{max(values, default=0):,}"
        for number, line in enumerate(draw_columns(values)):
            margin = scale if number == 0 else " " * len(scale)
            self.write(Text.assemble((f"{margin} ", "dim"), (line, "green")))
        self.write(Text(f"{' ' * len(scale)} {draw_axis(labels)}", style="dim"))

    def write_plain(self, lines: Iterable[str]) -> None:
        """Write lines unwrapped and without style, so that they can be copied."""
        for line in lines:
            self.console.out(line, highlight=False)


def draw_bar(value: float, *, largest: float) -> str:
    """Return a bar as long as ``value`` is of ``largest``; any value above 0 has a cell."""
    cells = round(BAR_WIDTH * value / largest) if largest else 0
    return "█" * max(cells, 1 if value else 0)


def draw_columns(values: Sequence[float]) -> list[str]:
    """Return the lines of a column chart, top line first; a column ends with a gap."""
    largest, levels = max(values, default=0), len(LEVELS) - 1
    filled = [round(CHART_HEIGHT * levels * value / largest) if largest else 0 for value in values]
    lines = []
    for row in reversed(range(CHART_HEIGHT)):
        cells = (LEVELS[min(max(fill - row * levels, 0), levels)] for fill in filled)
        lines.append("".join(cell.ljust(COLUMN_WIDTH) for cell in cells).rstrip())
    return lines


def draw_axis(labels: Sequence[str]) -> str:
    """Return the labels under their columns, without those that would touch the last."""
    line = ""
    for number, label in enumerate(labels):
        if label and (not line or len(line) < number * COLUMN_WIDTH):
            line = line.ljust(number * COLUMN_WIDTH) + label
    return line


def cut(text: str, width: int) -> str:
    """Return the text, cut to ``width`` characters with an ellipsis."""
    return text if len(text) <= width else text[: width - 1] + "…"
