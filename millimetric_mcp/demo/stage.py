"""What the spectator sees: questions, the tool calls they become, and answers as pictures."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from millimetric_mcp.contract.validation import list_field_errors
from millimetric_mcp.demo.charts import (
    Ink,
    choose_ink,
    draw_axis,
    draw_bar,
    draw_columns,
    draw_split,
)
from millimetric_mcp.demo.checks import Checks
from millimetric_mcp.errors import DemoFailed

INDENT = (0, 0, 0, 2)
CHART_HEIGHT = 5
BAR_WIDTH = 16
SPLIT_WIDTH = 40
SHOWN_MISMATCHES = 10
SHOWN_VALUE_CHARS = 56
NUMBER = ">"
"""Starts the heading of a column of numbers."""


ShapeT = TypeVar("ShapeT", bound=BaseModel)


class Answers(Protocol):
    """Whatever answers tool calls."""

    async def call(self, tool: str, arguments: Mapping[str, object]) -> dict[str, Any]: ...


class Stage:
    """Puts questions to the tools, shows the answers, and says what agreed."""

    def __init__(self, console: Console, answers: Answers, checks: Checks) -> None:
        self.checks = checks
        self._console = console
        self._answers = answers
        self._ink = choose_ink(console.encoding)
        self._agreed, self._mismatched = 0, 0

    async def ask(self, shape: type[ShapeT], tool: str, **arguments: object) -> ShapeT:
        """The answer to one tool call, which is shown as it is made.

        Raises:
            DemoFailed: the tool answered with an error, or not in its shape.
        """
        call = Text.assemble((f"{self._ink.arrow} ", "dim"), (tool, "cyan"))
        for name, value in arguments.items():
            call.append(f"  {name}=", style="dim")
            call.append(_write_value(value))
        self.say(call)
        return await self.listen(shape, tool, **arguments)

    async def listen(self, shape: type[ShapeT], tool: str, **arguments: object) -> ShapeT:
        """The answer to a tool call that is not shown."""
        answer = await self._answers.call(tool, arguments)
        try:
            return shape.model_validate(answer)
        except ValidationError as error:
            faults = ", ".join(sorted({fault.field for fault in list_field_errors(error)}))
            raise DemoFailed(f"{tool}'s answer is not of its shape: {faults}") from None

    def title(self, text: str) -> None:
        show_title(self._console, text)

    def say(self, text: str | Text) -> None:
        indent(self._console, text if isinstance(text, Text) else Text(text))

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Rows under headings."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for heading in headings:
            table.add_column(
                heading.removeprefix(NUMBER),
                justify="right" if heading.startswith(NUMBER) else "left",
                no_wrap=True,
            )
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        indent(self._console, table)

    def bar(self, value: float, *, most: float) -> str:
        """A cell of a table: as long as ``value`` is of ``most``."""
        return draw_bar(value, most=most, width=BAR_WIDTH, ink=self._ink)

    def split(self, share: float, *, first: str, second: str) -> None:
        """One whole in two parts."""
        left, right = draw_split(share, width=SPLIT_WIDTH, ink=self._ink)
        self.say(
            Text.assemble(
                (left, "magenta"), (right, "blue"), " ", (first, "magenta"), ", ", (second, "blue")
            )
        )

    def columns(self, values: Sequence[int], *, labels: Sequence[str], width: int = 2) -> None:
        """Standing bars over their labels, the highest value beside the highest line."""
        lines = draw_columns(values, height=CHART_HEIGHT, width=width, ink=self._ink)
        margin = len(f"{max(values, default=0):,}")
        for number, line in enumerate(lines):
            scale = f"{max(values, default=0):,}" if number == 0 else ""
            self.say(Text.assemble((f"{scale:>{margin}} ", "dim"), (line, "green")))
        axis = draw_axis(labels, width=width)
        self.say(Text(f"{'':>{margin}} {axis}", style="dim"))

    def verdict(self, praise: str = "values, all as they were sent") -> None:
        """Whether everything checked since the last verdict is what was sent."""
        checks = self.checks
        agreed, wrong = checks.agreed - self._agreed, checks.mismatches[self._mismatched :]
        self._agreed, self._mismatched = checks.agreed, len(checks.mismatches)
        if not wrong:
            self.say(_mark(self._ink, "right", f"{agreed:,} {praise}"))
        show_mismatches(self._console, wrong)


def show_title(console: Console, text: str) -> None:
    """A line across the page that opens a part."""
    console.print()
    console.print(Rule(Text(f"{text} ", style="bold"), align="left", style="dim"))


def show_done(console: Console, text: str) -> None:
    """Something that worked."""
    indent(console, _mark(choose_ink(console.encoding), "right", text))


def show_mismatches(console: Console, sentences: Sequence[str]) -> None:
    """What did not agree, the first of it in full."""
    for sentence in sentences[:SHOWN_MISMATCHES]:
        indent(console, _mark(choose_ink(console.encoding), "wrong", sentence))
    if len(sentences) > SHOWN_MISMATCHES:
        indent(console, f"and {len(sentences) - SHOWN_MISMATCHES} more")


def indent(console: Console, content: RenderableType) -> None:
    """The content, a little to the right."""
    console.print(Padding(content, INDENT, expand=False))


def cut(text: str, width: int) -> str:
    """The text, or its beginning where it is longer than ``width``."""
    return text if len(text) <= width else text[: width - 1] + "…"


def _write_value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cut(text, SHOWN_VALUE_CHARS)


def _mark(ink: Ink, verdict: str, text: str) -> Text:
    style = {"right": "bold green", "wrong": "bold red"}[verdict]
    return Text.assemble((f"{getattr(ink, verdict)} ", style), text)
