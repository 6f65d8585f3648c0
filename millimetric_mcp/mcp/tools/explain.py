"""Why an answer has no rows, found out by asking the API a little more."""

from collections.abc import Mapping
from difflib import get_close_matches

from millimetric_mcp.contract.reads import MAX_SOURCES_LIMIT, MAX_STATS_LIMIT
from millimetric_mcp.mcp.render import clean, escape_invisible
from millimetric_mcp.mcp.tools.probe import (
    UNANSWERED,
    all_time,
    attempt,
    find_first_month,
    find_last_time,
    list_event_names,
    list_sources,
)
from millimetric_mcp.mcp.tools.spec import ToolContext
from millimetric_mcp.mcp.window import Window

MAX_NAMES = 8
MAX_NAME_CHARS = 100
MAX_COMPARED_NAMES = 500
MAX_COMPARED_CHARS = 40
MAX_ALIKE_NAMES = 20
"""Strangers choose names, and comparing many long ones takes seconds: of many, the beginnings are
compared; of a few that begin alike, the whole."""


async def explain_nothing(
    context: ToolContext,
    window: Window,
    *,
    event: str | None = None,
    filters: Mapping[str, str] | None = None,
) -> str:
    """One or two sentences: an unknown event, a filter that matches nothing, an empty window.

    Where the API does not answer what is asked for that, they say that it is not known.
    """
    given = {name: value for name, value in (filters or {}).items() if value}
    found = await attempt(context, _explain(context, window, event=event, filters=given))
    return found or f"Why there is nothing is not known: {UNANSWERED}."


async def _explain(
    context: ToolContext, window: Window, *, event: str | None, filters: Mapping[str, str]
) -> str:
    span = (window.start_utc, window.end_utc)
    names = await list_event_names(context, *span)
    if not names:
        return await _explain_window(context)
    if event is not None and event not in names:
        is_listed = len(names) < MAX_STATS_LIMIT
        if is_listed or await find_last_time(context, *span, event=event) is None:
            return await _explain_event(context, event, names)
    if not filters:
        return "The window has events, but none that this question is about."
    wanted = {**({"event": event} if event else {}), **filters}
    if "source" in wanted and (said := await _explain_source(context, window, wanted)):
        return said
    filter_names = " and ".join(f"{name}={quote(value)}" for name, value in wanted.items())
    return f"The window has events, but none with {filter_names}: leave a filter out to see more."


async def _explain_source(context: ToolContext, window: Window, wanted: Mapping[str, str]) -> str:
    """Of a source that the window has not, or not among its largest; else empty."""
    span, source = (window.start_utc, window.end_utc), wanted["source"]
    sources = await list_sources(context, *span)
    if not sources:
        return ""
    if source not in sources:
        is_listed = len(sources) < MAX_SOURCES_LIMIT
        if is_listed or await find_last_time(context, *span, source=source) is None:
            nearest = _name_nearest("sources", source, sources)
            return f"No event in the window has source {quote(source)}; {nearest}"
    if len(wanted) > 1:
        return ""
    return (
        f"Source {quote(source)} has events in the window, but is not among the largest: "
        "take a narrower window, or see raw_events."
    )


async def _explain_window(context: ToolContext) -> str:
    first = await find_first_month(context)
    last = await find_last_time(context, *all_time(context.now()))
    if last is None:
        return "The project has no events at all, as far as the API tells."
    since = f"The first events are from {first[:7]}, the" if first else "The"
    return f"The window has no events. {since} newest is from {escape_invisible(last)}."


async def _explain_event(context: ToolContext, event: str, names: list[str]) -> str:
    ever = all_time(context.now())
    if last := await find_last_time(context, *ever, event=event):
        return (
            f"Event {quote(event)} exists, but not in this window: "
            f"the newest is from {escape_invisible(last)}."
        )
    known = await list_event_names(context, *ever) or names
    return f"There is no event {quote(event)}; {_name_nearest('events', event, known)}"


def _name_nearest(what: str, wanted: str, names: list[str]) -> str:
    alike: dict[str, list[str]] = {}
    for name in names[:MAX_COMPARED_NAMES]:
        alike.setdefault(_fold(name), []).append(name)
    nearest = [
        name
        for beginning in get_close_matches(_fold(wanted), alike, n=3, cutoff=0.5)
        for name in get_close_matches(wanted, alike[beginning][:MAX_ALIKE_NAMES], n=3, cutoff=0)
    ][:3]
    found = nearest or names[:MAX_NAMES]
    listed = ", ".join(quote(name) for name in found)
    return f"nearest: {listed}." if nearest else f"most frequent {what}: {listed}."


def _fold(name: str) -> str:
    return name.casefold()[:MAX_COMPARED_CHARS]


def quote(text: str, *, max_chars: int = MAX_NAME_CHARS) -> str:
    """A name in quotes that it can't leave: harmless, short however long it is."""
    shown = clean(text, max_chars=max_chars).replace('"', '\\"')
    return f'"{shown}"'
