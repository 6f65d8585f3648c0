"""``top_sources``: where events come from, how much of it is paid, and what changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from millimetric_mcp.contract.attribution import AttributionModel
from millimetric_mcp.contract.endpoints import SOURCES
from millimetric_mcp.contract.reads import (
    MAX_SOURCES_LIMIT,
    Breakdown,
    SourceRow,
    SourcesParams,
    SourcesResult,
)
from millimetric_mcp.mcp.render import sources as render
from millimetric_mcp.mcp.render.table import divide
from millimetric_mcp.mcp.render.untrusted import present
from millimetric_mcp.mcp.tools import read_tool
from millimetric_mcp.mcp.tools.arguments import AttributedArguments, SourceName
from millimetric_mcp.mcp.tools.follow_ups import UNANSWERED, attempt, count_by_proof, count_events
from millimetric_mcp.mcp.tools.tool import READ_HINTS, Tool, ToolContext
from millimetric_mcp.mcp.tools.wording import advise_limit, count, quote
from millimetric_mcp.mcp.window import Window

FACEBOOK = "facebook"
INTERNAL = "internal"
INTERNAL_NOTE = (
    "internal: clicks from one page of the site to another, so not where visitors came from."
)


class Comparison(StrEnum):
    """What the window can be compared with."""

    PREVIOUS_PERIOD = "previous_period"


class TopSourcesArguments(AttributedArguments):
    """A window, and how to look at its sources."""

    breakdown: Breakdown = Field(
        Breakdown.SOURCE_MEDIUM, description="Rows by source and medium, or by source alone."
    )
    source: SourceName | None = Field(None, description="Only this source, e.g. facebook.")
    compare: Comparison | None = Field(
        None, description="Adds the change against the window before."
    )
    limit: int = Field(50, strict=True, ge=1, le=MAX_SOURCES_LIMIT, description="Most rows.")


class TopSourcesData(read_tool.ReadData):
    """Sources, most events first."""

    breakdown: Breakdown
    total: int | None = Field(None, description="Events of the whole window.")
    rows: list[render.SourceChange]
    splits: list[str] | None = Field(None, description="Paid against other media, in a sentence.")
    previous_window: read_tool.WindowData | None = None
    no_touch_share: float | None = None


@dataclass(frozen=True, slots=True)
class _Sources:
    """Rows of one window after the filter; not complete if a limit may have cut rows off.

    ``found_events`` are those of all rows before the filter.
    """

    rows: list[SourceRow]
    is_complete: bool
    found_events: int
    no_touch_share: float | None
    notes: list[str]


async def _find(
    context: ToolContext, params: TopSourcesArguments, window: Window
) -> read_tool.ReadAnswer[TopSourcesData]:
    with read_tool.share_timeout(context):
        sources = await _fetch(context, params, window)
        previous = await _fetch(context, params, window.previous()) if params.compare else None
    splits = await _describe_splits(context, params, window, sources)
    total = await _count_all(context, params, window, sources)
    notes = list(sources.notes)
    if not sources.is_complete and (params.source or params.compare):
        notes.append(f"Only the {MAX_SOURCES_LIMIT} largest rows were searched.")
    if previous and sources.rows and not previous.rows and previous.is_complete:
        of = f" of {quote(params.source)}" if params.source else ""
        notes.append(f"The window before has no events{of}.")
    rows: Sequence[SourceRow] = sources.rows
    if previous:
        rows = render.compare_sources(
            sources.rows,
            previous.rows,
            current_is_whole=sources.is_complete,
            previous_is_whole=previous.is_complete,
        )
    limit_note = _note_limit(params, sources, len(rows))
    shown = _show(rows[: params.limit], total=total)
    if shown and shown[-1].source == INTERNAL:
        notes.append(INTERNAL_NOTE)
    by = "source" if params.breakdown is Breakdown.SOURCE else "source and medium"
    of_total = "" if total is None else f", of {count(total, 'event')} in all"
    receipt = [f"{count(len(shown), 'row')} by {by}{of_total}. {window.describe()}"]
    if previous:
        receipt.append(f"Compared with: {window.previous().describe()}")
    receipt += params.describe_attribution(sources.no_touch_share, columns=["source"])
    return read_tool.ReadAnswer(
        data=TopSourcesData(
            window=read_tool.WindowData.of(window),
            breakdown=params.breakdown,
            total=total,
            rows=[],
            splits=splits or None,
            no_touch_share=sources.no_touch_share,
            previous_window=read_tool.WindowData.of(window.previous()) if previous else None,
        ),
        rows=[render.SourceChange.model_validate(present(row)) for row in shown],
        receipt=[*receipt, *splits],
        notes=notes,
        render=lambda most: render.render_sources(shown[:most], breakdown=params.breakdown),
        limit_note=limit_note,
        is_empty=not sources.rows,
    )


async def _count_all(
    context: ToolContext, params: TopSourcesArguments, window: Window, sources: _Sources
) -> int | None:
    """Return how many events the window has; None if the API does not answer."""
    if sources.is_complete:
        return sources.found_events
    return await attempt(context, count_events(context, params.ask(window)))


def _show(rows: Sequence[SourceRow], *, total: int | None) -> list[render.SourceShare]:
    """Return the rows with their shares of all events, those of `INTERNAL` last."""
    shown = [
        row
        if isinstance(row, render.SourceShare)
        else render.SourceShare.model_validate(row.model_dump(exclude_unset=True))
        for row in rows
    ]
    if total:
        shown = [row.model_copy(update={"share": divide(row.events, total)}) for row in shown]
    return sorted(shown, key=lambda row: row.source == INTERNAL)


async def _fetch(context: ToolContext, params: TopSourcesArguments, window: Window) -> _Sources:
    """Return the window's rows. A filter or a comparison needs as many as the API gives."""
    limit = MAX_SOURCES_LIMIT if params.source or params.compare else params.limit
    answer = await _ask(context, params, window, breakdown=params.breakdown, limit=limit)
    rows = answer.rows
    wanted = [row for row in rows if params.source in {None, row.source}]
    found_events = sum(row.events for row in rows)
    return _Sources(
        wanted,
        is_complete=len(rows) < limit,
        found_events=found_events,
        no_touch_share=answer.no_touch_share,
        notes=read_tool.list_api_notes(answer),
    )


async def _ask(
    context: ToolContext,
    params: TopSourcesArguments,
    window: Window,
    *,
    breakdown: Breakdown,
    limit: int,
) -> SourcesResult:
    question = SourcesParams(**params.ask(window), breakdown=breakdown, limit=limit)
    return await context.client.sources(question)


async def _describe_splits(
    context: ToolContext, params: TopSourcesArguments, window: Window, sources: _Sources
) -> list[str]:
    """Return a sentence about the source asked for; without one, about Facebook."""
    name = params.source or FACEBOOK
    rows: list[SourceRow] | None = sources.rows
    is_absent = name not in {row.source for row in sources.rows}
    if not sources.rows or (is_absent and params.source):
        return []
    if not sources.is_complete or (params.breakdown is Breakdown.SOURCE and not is_absent):
        question = _ask(
            context,
            params,
            window,
            breakdown=Breakdown.SOURCE_MEDIUM,
            limit=MAX_SOURCES_LIMIT,
        )
        answer = await attempt(context, question)
        rows = answer.rows if answer else None
    if rows is None:
        return [f"How much of {quote(name)} is paid is unknown: {UNANSWERED}."]
    depth = f", by the {MAX_SOURCES_LIMIT} largest rows" if len(rows) == MAX_SOURCES_LIMIT else ""
    splits = [read_tool.shorten_note(context, render.describe_split(name, rows) + depth)]
    is_own = params.attribution is AttributionModel.EVENT
    has_paid = any((row.source, row.medium) == (name, render.PAID) for row in rows)
    if name == FACEBOOK and is_own and has_paid:
        by_proof = await attempt(context, count_by_proof(context, params.ask(window), source=name))
        if by_proof is None:
            splits.append(f"What proves these paid events is unknown: {UNANSWERED}.")
        elif by_proof:
            splits.append(render.describe_proof(by_proof))
    return splits


def _note_limit(params: TopSourcesArguments, sources: _Sources, found: int) -> str:
    """Return how to get rows beyond the limit; empty if there are none, or no way."""
    way = advise_limit(
        params.limit, most=MAX_SOURCES_LIMIT, otherwise="narrow the window, or name a source"
    )
    if found > params.limit:
        return f"{count(found - params.limit, 'further row')} beyond the limit: {way}."
    if sources.is_complete or params.source or params.compare:
        return ""
    return f"The limit of {params.limit} is reached; there may be more: {way}."


TOOL = Tool(
    name="top_sources",
    title="Top sources",
    description="Events, unique visitors, paid share and share of all events by source and "
    "medium. Most events first; internal (clicks within the site itself) last. Spells out "
    f"Facebook's paid/social split. {read_tool.VISITOR} {read_tool.UNTRUSTED}",
    params=TopSourcesArguments,
    result=TopSourcesData,
    endpoints=(SOURCES,),
    hints=READ_HINTS,
    run=read_tool.run_read(_find),
    has_view=True,
)
