"""``describe_data``: names of events, their properties, and the columns in use."""

from collections.abc import Sequence

from millimetric_mcp.contract import reads
from millimetric_mcp.contract.endpoints import SCHEMA
from millimetric_mcp.mcp.render.table import Table, join_cells, percent
from millimetric_mcp.mcp.render.untrusted import clean, present
from millimetric_mcp.mcp.tools import read_tool
from millimetric_mcp.mcp.tools.arguments import BriefWindow
from millimetric_mcp.mcp.tools.tool import READ_HINTS, Tool, ToolContext
from millimetric_mcp.mcp.tools.wording import count
from millimetric_mcp.mcp.window import Window

MAX_SHOWN_VALUES = 3
MAX_SHOWN_CHARS = 30


class DescribeDataData(read_tool.ReadData):
    """Rows by events, most first."""

    rows: list[reads.SchemaRow]
    columns: list[str]


async def _find(
    context: ToolContext, params: BriefWindow, window: Window
) -> read_tool.ReadAnswer[DescribeDataData]:
    del params
    question = reads.SchemaParams(
        from_=window.start_utc, to=window.end_utc, bots=reads.Bots.EXCLUDE
    )
    answer = await context.client.schema(question)
    rows = [reads.SchemaRow.model_validate(_clean(row)) for row in answer.rows]
    return read_tool.ReadAnswer(
        data=DescribeDataData(
            window=read_tool.WindowData.of(window), rows=[], columns=answer.columns
        ),
        rows=rows,
        receipt=[
            f"{count(len(rows), 'event name')}. {window.describe()}",
            f"Columns in use: {', '.join(answer.columns)}." if answer.columns else "",
        ],
        notes=[
            (
                f"Properties are those of a random {answer.sampled_events} events of each name, so "
                "rare ones may be missing."
            ),
            *read_tool.list_api_notes(answer),
        ],
        render=lambda most: _render(rows[:most]),
        limit_note="Only the most frequent names are shown." if answer.truncated else "",
        is_empty=not rows,
    )


def _clean(row: reads.SchemaRow) -> dict[str, object]:
    properties = [
        {
            **present(one),
            "types": one.types,
            "top_values": [clean(value, max_chars=MAX_SHOWN_CHARS) for value in one.top_values],
        }
        for one in row.properties
    ]
    return {**present(row), "properties": properties}


def _render(rows: Sequence[reads.SchemaRow]) -> Table:
    lines = [
        join_cells(
            (
                row.event_name,
                row.events,
                row.first_seen[:10],
                row.last_seen[:10],
                "; ".join([*map(_describe, row.properties), *_count_others(row)]),
            )
        )
        for row in rows
    ]
    return Table(
        ["event", "events", "first_seen", "last_seen", "properties"],
        lines,
        advice="narrow the window",
    )


def _count_others(row: reads.SchemaRow) -> list[str]:
    return [f"and {row.properties_left_out} more"] if row.properties_left_out else []


def _describe(one: reads.PropertyDescription) -> str:
    values = ", ".join(one.top_values[:MAX_SHOWN_VALUES])
    return f"{one.key} ({'/'.join(one.types)}, {percent(one.share)}: {values})"


TOOL = Tool(
    name="describe_data",
    title="Describe data",
    description="What can be asked: names of events, their properties with types and frequent "
    f"values, and the columns in use. Call it before guessing a name. {read_tool.UNTRUSTED}",
    params=BriefWindow,
    result=DescribeDataData,
    endpoints=(SCHEMA,),
    hints=READ_HINTS,
    run=read_tool.run_read(_find),
)
