"""Why a result has no rows, found out with a few more requests."""

from collections.abc import Mapping
from difflib import get_close_matches

from millimetric_mcp.contract.reads import MAX_SOURCES_LIMIT, MAX_STATS_LIMIT
from millimetric_mcp.mcp.render.untrusted import escape_invisible
from millimetric_mcp.mcp.tools import follow_ups
from millimetric_mcp.mcp.tools.tool import ToolContext
from millimetric_mcp.mcp.tools.wording import NO_COUNTRIES, quote
from millimetric_mcp.mcp.window import Window

MAX_NAMES = 8
# Comparing many long names takes seconds, so their first characters are compared. Only of a few
# names with the same beginning the whole is compared.
MAX_COMPARED_NAMES = 500
MAX_COMPARED_CHARS = 40
MAX_SIMILAR_NAMES = 20


async def explain_empty_result(
    context: ToolContext, window: Window, filters: Mapping[str, str]
) -> str:
    """Return a sentence: the event is unknown, a filter matches nothing, the window is empty…

    If the API does not answer the follow-up questions, it says that the reason is unknown.
    """
    found = await follow_ups.attempt(context, _find_reason(context, window, filters))
    return found or f"The reason is unknown: {follow_ups.UNANSWERED}."


async def _find_reason(context: ToolContext, window: Window, filters: Mapping[str, str]) -> str:
    span, event = (window.start_utc, window.end_utc), filters.get("event")
    names = await follow_ups.list_event_names(context, *span)
    if not names:
        return await _explain_window(context)
    if event is not None and event not in names:
        is_complete = len(names) < MAX_STATS_LIMIT
        if is_complete or await follow_ups.find_last_time(context, *span, event=event) is None:
            return await _explain_event(context, event, names)
    if not set(filters) - {"event"}:
        return "The window has events, but none that this question is about."
    if "country" in filters and not await follow_ups.has_countries(context, *span):
        return NO_COUNTRIES
    if "source" in filters and (sentence := await _explain_source(context, window, filters)):
        return sentence
    given = " and ".join(f"{name}={quote(value)}" for name, value in filters.items())
    return f"The window has events, but none with {given}: leave a filter out to see more."


async def _explain_source(context: ToolContext, window: Window, filters: Mapping[str, str]) -> str:
    """Return a sentence if the window lacks the source, or has it below the largest ones."""
    span, source = (window.start_utc, window.end_utc), filters["source"]
    sources = await follow_ups.list_sources(context, *span)
    if not sources:
        return ""
    if source not in sources:
        is_complete = len(sources) < MAX_SOURCES_LIMIT
        if is_complete or await follow_ups.find_last_time(context, *span, source=source) is None:
            nearest = _name_nearest("sources", source, sources)
            return f"No event in the window has source {quote(source)}; {nearest}"
    if len(filters) > 1:
        return ""
    return (
        f"Source {quote(source)} has events in the window, but is not among the largest: "
        "narrow the window, or see raw_events."
    )


async def _explain_window(context: ToolContext) -> str:
    first = await follow_ups.find_first_month(context)
    last = await follow_ups.find_last_time(context, *follow_ups.all_time(context.now()))
    if last is None:
        return "The project has no events at all."
    since = f"The first events are from {first[:7]}, the" if first else "The"
    return f"The window has no events. {since} newest is from {escape_invisible(last)}."


async def _explain_event(context: ToolContext, event: str, names: list[str]) -> str:
    ever = follow_ups.all_time(context.now())
    if last := await follow_ups.find_last_time(context, *ever, event=event):
        return (
            f"Event {quote(event)} exists, but not in this window: "
            f"the newest is from {escape_invisible(last)}."
        )
    known = await follow_ups.list_event_names(context, *ever) or names
    return f"There is no event {quote(event)}; {_name_nearest('events', event, known)}"


def _name_nearest(what: str, wanted: str, names: list[str]) -> str:
    alike: dict[str, list[str]] = {}
    for name in names[:MAX_COMPARED_NAMES]:
        alike.setdefault(_fold(name), []).append(name)
    nearest = [
        name
        for beginning in get_close_matches(_fold(wanted), alike, n=3, cutoff=0.5)
        for name in get_close_matches(wanted, alike[beginning][:MAX_SIMILAR_NAMES], n=3, cutoff=0)
    ][:3]
    listed = ", ".join(quote(name) for name in nearest or names[:MAX_NAMES])
    return f"nearest: {listed}." if nearest else f"most frequent {what}: {listed}."


def _fold(name: str) -> str:
    return name.casefold()[:MAX_COMPARED_CHARS]
