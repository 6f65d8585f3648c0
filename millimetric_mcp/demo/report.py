"""The demo's output: titles, tool calls, tables and charts as text."""

import json
from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

INDENT = 2
BAR_WIDTH, SPLIT_WIDTH = 16, 40
MAX_CELL_CHARS = 22
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
            text = Text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            text.truncate(SHOWN_VALUE_CHARS, overflow="ellipsis")
            call.append(f"  {name}=", style="dim").append(text)
        self.write(call)

    def write_mismatches(self, mismatches: Sequence[str]) -> None:
        """Write the first mismatches, and how many more there are."""
        for sentence in mismatches[:SHOWN_MISMATCHES]:
            self.write(Text.assemble(("✗ ", "bold red"), sentence))
        if len(mismatches) > SHOWN_MISMATCHES:
            self.write(f"and {len(mismatches) - SHOWN_MISMATCHES} more")

    def write_table(self, headings: Iterable[str], rows: Iterable[Sequence[str | int]]) -> None:
        """Write rows under headings; columns of integers are aligned right."""
        lines = list(rows)
        table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for column, heading in enumerate(headings):
            is_number = any(isinstance(line[column], int) for line in lines)
            justify: JustifyMethod = "right" if is_number else "left"
            table.add_column(heading, justify=justify, no_wrap=True, max_width=MAX_CELL_CHARS)
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

    def write_days(self, values: Mapping[str, int]) -> None:
        """Write a row of columns, one a day, with the first and the last day."""
        columns, (first, *_, last) = draw_columns([*values.values()]), values
        scale = f" {last}  up to {max(values.values()):,} a day"
        self.write(Text.assemble((f"{first} ", "dim"), (columns, "green"), (scale, "dim")))


def draw_bar(value: float, *, largest: float) -> str:
    """Return a bar as long as ``value`` is of ``largest``; any value above 0 has a cell."""
    cells = round(BAR_WIDTH * value / largest) if largest else 0
    return "█" * max(cells, 1 if value else 0)


def draw_columns(values: Sequence[int]) -> str:
    """Return a column for each value in one line; the largest is as high as the line."""
    largest = max(values) or 1
    return "".join(LEVELS[round((len(LEVELS) - 1) * value / largest)] for value in values)
