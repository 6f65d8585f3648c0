"""``funnel``: how many people took the steps, in their order."""

from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from millimetric_mcp.contract import reads
from millimetric_mcp.contract.endpoints import FUNNEL
from millimetric_mcp.mcp.render.table import Table, join_cells, percent
from millimetric_mcp.mcp.render.untrusted import present
from millimetric_mcp.mcp.tools import read_tool
from millimetric_mcp.mcp.tools.arguments import AttributedArguments, BriefWindow
from millimetric_mcp.mcp.tools.tool import READ_HINTS, Tool, ToolContext
from millimetric_mcp.mcp.tools.wording import count
from millimetric_mcp.mcp.window import Window

_STEP = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "filters": {"type": "object"}},
    "required": ["event"],
}


class FunnelArguments(BriefWindow, AttributedArguments):
    """A window, the steps, and how to group the people."""

    steps: Annotated[
        reads.Steps,
        WithJsonSchema({"type": "array", "items": _STEP, "minItems": 2, "maxItems": 10}),
        Field(description='E.g. [{"event": "signup"}, {"event": "purchase", "country": "DE"}].'),
    ]
    within: Annotated[
        reads.Duration,
        WithJsonSchema({"type": "string", "pattern": "[mhd]$"}),
        Field(description="First step to last, at most: 1m to 90d."),
    ] = "7d"
    group_by: Annotated[
        reads.GroupBy,
        AfterValidator(reads.check_one_column),
        WithJsonSchema({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
        Field(description="One column of the first step's event, e.g. source or channel."),
    ] = ()


class FunnelData(read_tool.ReadData):
    """Rows by step; of several groups, the group with most people first."""

    rows: list[reads.FunnelRow]
    no_touch_share: float | None = None


async def _find(
    context: ToolContext, params: FunnelArguments, window: Window
) -> read_tool.ReadAnswer[FunnelData]:
    question = reads.FunnelParams(
        **params.ask(window),
        steps=params.steps,
        within=params.within,
        group_by=params.group_by,
    )
    answer = await context.client.funnel(question)
    rows = answer.rows
    started = sum(row.people for row in rows if row.step == 1)
    finished = sum(row.people for row in rows if row.step == len(params.steps))
    people = "1 person" if started == 1 else f"{started} people"
    share = f" ({percent(finished / started)})" if started else ""
    return read_tool.ReadAnswer(
        data=FunnelData(
            window=read_tool.WindowData.of(window), rows=[], no_touch_share=answer.no_touch_share
        ),
        rows=[reads.FunnelRow.model_validate(present(row)) for row in rows],
        receipt=[
            (
                f"Of {people}, {finished}{share} took all {len(params.steps)} steps within "
                f"{params.within}. {window.describe()}"
            ),
            *params.describe_attribution(
                answer.no_touch_share, columns=params.group_by, what="first step"
            ),
        ],
        notes=[
            "All steps lie in the window, so people who came late in it had less time.",
            *read_tool.list_api_notes(answer),
        ],
        render=lambda most: _render(rows[:most], has_group=bool(params.group_by)),
        limit_note=f"Only the {count(question.limit, 'group')} with most people are shown."
        if answer.truncated
        else "",
        is_empty=not started,
    )


def _render(rows: list[reads.FunnelRow], *, has_group: bool) -> Table:
    columns = ("step", "event", "people", "from_first", "from_previous", "median_s")
    lines = [
        join_cells(
            (
                *([row.group] if has_group else []),
                row.step,
                row.event,
                row.people,
                percent(row.from_first),
                percent(row.from_previous),
                row.median_s,
            )
        )
        for row in rows
    ]
    return Table(
        [*(["group"] if has_group else []), *columns], lines, advice="group by fewer values"
    )


TOOL = Tool(
    name="funnel",
    title="Funnel",
    description="Where people drop out: how many took each step after the steps before it, with "
    "the shares and the median of seconds since the previous step. Each person counts once. "
    f"{read_tool.UNTRUSTED}",
    params=FunnelArguments,
    result=FunnelData,
    endpoints=(FUNNEL,),
    hints=READ_HINTS,
    run=read_tool.run_read(_find),
    has_view=True,
)
