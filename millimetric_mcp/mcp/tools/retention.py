"""``retention``: how many people came back, by when they came first."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from millimetric_mcp.contract import reads
from millimetric_mcp.contract.endpoints import RETENTION
from millimetric_mcp.contract.events import EventName
from millimetric_mcp.mcp.render.table import Table, join_cells, percent
from millimetric_mcp.mcp.tools import read_tool
from millimetric_mcp.mcp.tools.arguments import BriefWindow, QuestionArguments
from millimetric_mcp.mcp.tools.tool import READ_HINTS, Tool, ToolContext
from millimetric_mcp.mcp.tools.wording import quote
from millimetric_mcp.mcp.window import Window


class RetentionArguments(BriefWindow, QuestionArguments):
    """A window, the event that begins, and the one that counts as coming back."""

    event: EventName = Field(description="A person's first one in the window begins, e.g. signup.")
    return_: EventName | None = Field(
        None, alias="return", description="Counts as coming back; absent: the same event."
    )
    interval: Literal["day", "week", "month"] = Field(
        "week", description="In timezone, else the project's."
    )


class RetentionData(read_tool.ReadData):
    """Rows by cohort, oldest first."""

    rows: list[reads.RetentionRow]


async def _find(
    context: ToolContext, params: RetentionArguments, window: Window
) -> read_tool.ReadAnswer[RetentionData]:
    question = reads.RetentionParams(
        **params.ask(window),
        event=params.event,
        return_=params.return_,
        interval=params.interval,
        timezone=None if window.is_utc else window.timezone,
    )
    answer = await context.client.retention(question)
    rows = answer.rows
    people = sum(row.people for row in rows)
    notes = ["The last number of a row marked + is of an interval that is not over."] * any(
        row.is_running for row in rows
    )
    return read_tool.ReadAnswer(
        data=RetentionData(window=read_tool.WindowData.of(window), rows=[]),
        rows=rows,
        receipt=[
            (
                f"{people} {'person' if people == 1 else 'people'} with a first "
                f"{quote(params.event)}; shares with a {quote(params.return_ or params.event)} in "
                f"that {params.interval} (0) and in later ones. {window.describe()}"
            )
        ],
        notes=[*notes, *read_tool.list_api_notes(answer)],
        render=lambda most: _render(rows[:most]),
        limit_note="",
        is_empty=not rows,
    )


def _render(rows: Sequence[reads.RetentionRow]) -> Table:
    width = max((len(row.returned) for row in rows), default=0)
    lines = [
        join_cells(
            (
                row.cohort[:10] + "+" * row.is_running,
                row.people,
                *(percent(number / row.people) for number in row.returned),
                *([""] * (width - len(row.returned))),
            )
        )
        for row in rows
    ]
    return Table(
        ["cohort", "people", *map(str, range(width))], lines, advice="take a longer interval"
    )


TOOL = Tool(
    name="retention",
    title="Retention",
    description="Do people come back: cohorts by the day, week or month of their first event in "
    f"the window, and the share that came back in each interval since. {read_tool.UNTRUSTED}",
    params=RetentionArguments,
    result=RetentionData,
    endpoints=(RETENTION,),
    hints=READ_HINTS,
    run=read_tool.run_read(_find),
)
