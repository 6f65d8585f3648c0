"""Why an answer has no rows, found out by asking the API a little more."""

from collections.abc import Mapping
from difflib import get_close_matches

from millimetric_mcp.render import neutralise, tame
from millimetric_mcp.tools.probe import (
    UNANSWERED,
    all_time,
    attempt,
    find_first_month,
    find_last_time,
    list_event_names,
    list_sources,
)
from millimetric_mcp.tools.spec import ToolContext
from millimetric_mcp.window import Window

MAX_NAMES = 8
MAX_NAME_CHARS = 100


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
    names = await list_event_names(context, window.start_utc, window.end_utc)
    if not names:
        return await _explain_window(context)
    if event is not None and event not in names:
        return await _explain_event(context, event, names)
    if not filters:
        return "The window has events, but none that this question is about."
    if "source" in filters:
        sources = await list_sources(context, window.start_utc, window.end_utc)
        if sources and filters["source"] not in sources:
            return (
                f"No event in the window has source {quote(filters['source'])}; "
                f"{_name_nearest('sources', filters['source'], sources)}"
            )
    filter_names = " and ".join(f"{name}={quote(value)}" for name, value in filters.items())
    return f"The window has events, but none with {filter_names}: leave a filter out to see more."


async def _explain_window(context: ToolContext) -> str:
    first, last = await find_first_month(context), await find_last_time(context)
    if last is None:
        return "The project has no events at all, as far as the API tells."
    since = f"The first events are from {first[:7]}, the" if first else "The"
    return f"The window has no events. {since} newest is from {neutralise(last)}."


async def _explain_event(context: ToolContext, event: str, names: list[str]) -> str:
    ever = await list_event_names(context, *all_time(context.now()))
    if event in ever:
        return f"Event {quote(event)} exists, but not in this window; take a wider one."
    return f"There is no event {quote(event)}; {_name_nearest('events', event, ever or names)}"


def _name_nearest(what: str, wanted: str, names: list[str]) -> str:
    by_folded = {name.casefold(): name for name in reversed(names)}
    nearest = [
        by_folded[name] for name in get_close_matches(wanted.casefold(), by_folded, n=3, cutoff=0.5)
    ]
    found = nearest or names[:MAX_NAMES]
    listed = ", ".join(quote(name) for name in found)
    return f"nearest: {listed}." if nearest else f"most frequent {what}: {listed}."


def quote(text: str, *, max_chars: int = MAX_NAME_CHARS) -> str:
    """A name in quotes that it can't leave: harmless, short however long it is."""
    shown = tame(text, max_chars=max_chars).replace('"', '\\"')
    return f'"{shown}"'
