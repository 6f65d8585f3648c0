"""``top_sources``: where events come from, what of it is paid, and what changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from millimetric_mcp.contract.endpoints import SOURCES
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.contract.reads import (
    MAX_SOURCES_LIMIT,
    Breakdown,
    SourceRow,
    SourcesParams,
)
from millimetric_mcp.mcp.render import (
    SourceChange,
    compare_sources,
    describe_split,
    present,
    render_sources,
)
from millimetric_mcp.mcp.tools.arguments import SourceName, WindowArguments
from millimetric_mcp.mcp.tools.explain import explain_nothing, quote
from millimetric_mcp.mcp.tools.probe import UNANSWERED, attempt
from millimetric_mcp.mcp.tools.reading import (
    STRANGERS,
    ReadAnswer,
    WindowAnswer,
    count,
    cut_note,
    find_window,
    fit_answer,
    keep_time,
)
from millimetric_mcp.mcp.tools.spec import Answer, Hints, ToolContext, ToolSpec
from millimetric_mcp.mcp.window import Window

FACEBOOK = "facebook"
_RAISE_LIMIT = f"raise limit (at most {MAX_SOURCES_LIMIT})"


class Comparison(StrEnum):
    """What the window can be compared with."""

    PREVIOUS_PERIOD = "previous_period"


class TopSourcesArguments(WindowArguments):
    """A window, and how to look at its sources."""

    breakdown: Breakdown = Breakdown.SOURCE_MEDIUM
    source: Annotated[SourceName | None, Field(description="Only this source, e.g. facebook.")] = (
        None
    )
    compare: Annotated[
        Comparison | None, Field(description="Adds the change against the window before.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=MAX_SOURCES_LIMIT)] = 50


class TopSourcesRow(SourceRow):
    """A source (and medium), with what changed where that was asked for."""

    events_before: int | None = None
    events_change: int | None = None
    events_change_pct: float | None = None
    uniques_before: int | None = None
    uniques_change: int | None = None
    uniques_change_pct: float | None = None
    paid_share_before: float | None = None


class TopSourcesAnswer(ReadAnswer):
    """Sources, most events first."""

    breakdown: Breakdown
    rows: list[TopSourcesRow]
    splits: Annotated[
        list[str] | None, Field(description="Paid against other media, in a sentence.")
    ] = None
    previous_window: WindowAnswer | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """Rows of one window after the filter; not whole where a limit may have cut them short."""

    rows: Sequence[SourceRow]
    is_whole: bool


async def _run(context: ToolContext, params: TopSourcesArguments) -> Answer[TopSourcesAnswer]:
    window = find_window(context, params)
    with keep_time(context):
        found = await _find(context, window, params)
        before = await _find(context, window.previous(), params) if params.compare else None
    splits = await _describe_splits(context, window, params, found)
    notes = _note_depth(params, found)
    if not found.rows:
        filters = {"source": params.source or ""}
        nothing = await explain_nothing(context, window, filters=filters)
        notes.append(cut_note(context, nothing))
    elif before and not before.rows and before.is_whole:
        notes.append(f"The window before has no events{' of it' if params.source else ''} at all.")
    found = replace(found, rows=_compare(found, before)) if before else found
    return _answer(context, params, window=window, found=found, splits=splits, notes=notes)


async def _find(context: ToolContext, window: Window, params: TopSourcesArguments) -> _Found:
    """The window's rows; a filter or a comparison looks through as many as the API gives."""
    limit = MAX_SOURCES_LIMIT if params.source or params.compare else params.limit
    rows = await _ask(context, window, breakdown=params.breakdown, limit=limit)
    wanted = [row for row in rows if params.source in {None, row.source}]
    return _Found(wanted, is_whole=len(rows) < limit)


async def _ask(
    context: ToolContext, window: Window, *, breakdown: Breakdown, limit: int
) -> list[SourceRow]:
    answer = await context.client.sources(
        SourcesParams(from_=window.start_utc, to=window.end_utc, breakdown=breakdown, limit=limit)
    )
    return answer.rows


async def _describe_splits(
    context: ToolContext, window: Window, params: TopSourcesArguments, found: _Found
) -> list[str]:
    """A sentence on the source asked for; where none is, on Facebook, however small."""
    name = params.source or FACEBOOK
    rows: Sequence[SourceRow] | None = found.rows
    is_absent = name not in {row.source for row in found.rows}
    if not found.rows or (is_absent and params.source):
        return []
    if not found.is_whole or (params.breakdown is Breakdown.SOURCE and not is_absent):
        question = _ask(context, window, breakdown=Breakdown.SOURCE_MEDIUM, limit=MAX_SOURCES_LIMIT)
        rows = await attempt(context, question)
    if rows is None:
        return [f"How much of {quote(name)} is paid is not known: {UNANSWERED}."]
    depth = f", by the {MAX_SOURCES_LIMIT} largest rows" if len(rows) == MAX_SOURCES_LIMIT else ""
    return [cut_note(context, describe_split(name, rows) + depth)]


def _note_depth(params: TopSourcesArguments, found: _Found) -> list[str]:
    if found.is_whole or not (params.source or params.compare):
        return []
    return [f"Only the {MAX_SOURCES_LIMIT} largest rows were looked through."]


def _note_limit(params: TopSourcesArguments, found: _Found) -> str:
    """The way to rows beyond the limit; empty where there are none, or none to be had."""
    beyond = len(found.rows) - params.limit
    if beyond > 0:
        return f"{count(beyond, 'further row')} beyond the limit: {_RAISE_LIMIT}."
    if found.is_whole or params.source or params.compare:
        return ""
    can_raise = params.limit < MAX_SOURCES_LIMIT
    way = _RAISE_LIMIT if can_raise else "narrow the window, or name a source"
    return f"The limit of {params.limit} is reached; there may be more: {way}."


def _compare(found: _Found, before: _Found) -> list[SourceChange]:
    return compare_sources(
        found.rows,
        before.rows,
        current_is_whole=found.is_whole,
        previous_is_whole=before.is_whole,
    )


def _answer(
    context: ToolContext,
    params: TopSourcesArguments,
    *,
    window: Window,
    found: _Found,
    splits: list[str],
    notes: list[str],
) -> Answer[TopSourcesAnswer]:
    by = "source" if params.breakdown is Breakdown.SOURCE else "source and medium"
    shown = found.rows[: params.limit]
    receipt = [f"{count(len(shown), 'row')} by {by}. {window.describe()}"]
    if params.compare:
        receipt.append(f"Compared with: {window.previous().describe()}")
    receipt += [*splits, *notes]
    return fit_answer(
        context,
        TopSourcesAnswer(
            window=WindowAnswer.of(window),
            breakdown=params.breakdown,
            rows=[],
            splits=splits or None,
            previous_window=WindowAnswer.of(window.previous()) if params.compare else None,
            notes=notes or None,
        ),
        [TopSourcesRow.model_validate(present(row)) for row in shown],
        lambda max_rows: render_sources(
            shown,
            breakdown=params.breakdown,
            receipt=receipt,
            max_chars=context.max_result_chars,
            max_rows=max_rows,
            limit_note=_note_limit(params, found),
        ),
    )


TOP_SOURCES = ToolSpec(
    name="top_sources",
    title="Top sources",
    description="Events, unique visitors and paid share by source and medium, most events first; "
    f"spells out Facebook's paid/social split. {STRANGERS}",
    params=TopSourcesArguments,
    result=TopSourcesAnswer,
    endpoints=(SOURCES,),
    scope=Scope.READ,
    hints=Hints(read_only=True, destructive=False, idempotent=True, open_world=True),
    run=_run,
)
