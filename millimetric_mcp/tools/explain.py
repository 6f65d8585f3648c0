"""Why an answer has no rows, found out by asking the API a little more."""

from collections.abc import Mapping
from difflib import get_close_matches

from millimetric_mcp.render import neutralise
from millimetric_mcp.tools.probe import (
    all_time,
    find_first_month,
    find_last_time,
    list_event_names,
    list_sources,
)
from millimetric_mcp.tools.spec import ToolContext
from millimetric_mcp.window import Window

MAX_NAMES = 8


async def explain_nothing(
    context: ToolContext,
    window: Window,
    *,
    event: str | None = None,
    filters: Mapping[str, str] | None = None,
) -> str:
    """One or two sentences: an unknown event, a filter that matches nothing, an empty window."""
    names = await list_event_names(context, window.start_utc, window.end_utc)
    if not names:
        return await _explain_window(context)
    if event is not None and event not in names:
        return await _explain_event(context, event, names)
    given = {name: value for name, value in (filters or {}).items() if value}
    if not given:
        return "The window has events, but none that this question is about."
    if "source" in given:
        sources = await list_sources(context, window.start_utc, window.end_utc)
        if sources and given["source"] not in sources:
            return (
                f"No event in the window has source {_quote(given['source'])}; "
                f"{_name_nearest('sources', given['source'], sources)}"
            )
    filter_names = " and ".join(f"{name}={_quote(value)}" for name, value in given.items())
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
        return f"Event {_quote(event)} exists, but not in this window; take a wider one."
    return f"There is no event {_quote(event)}; {_name_nearest('events', event, ever or names)}"


def _name_nearest(what: str, wanted: str, names: list[str]) -> str:
    by_folded = {name.casefold(): name for name in reversed(names)}
    nearest = [
        by_folded[name] for name in get_close_matches(wanted.casefold(), by_folded, n=3, cutoff=0.5)
    ]
    found = nearest or names[:MAX_NAMES]
    listed = ", ".join(_quote(name) for name in found)
    return f"nearest: {listed}." if nearest else f"most frequent {what}: {listed}."


def _quote(text: str) -> str:
    return f'"{neutralise(text)}"'
