"""The tools, in the order in which they are listed."""

from typing import Any

from millimetric_mcp.mcp.tools import (
    batch,
    describe_data,
    forget,
    funnel,
    identify,
    raw_events,
    retention,
    stats,
    top_sources,
    track_event,
)
from millimetric_mcp.mcp.tools.tool import Tool

__all__ = ["TOOLS", "find_tool"]

TOOLS: tuple[Tool[Any, Any], ...] = (
    track_event.TOOL,
    identify.TOOL,
    batch.TOOL,
    forget.TOOL,
    top_sources.TOOL,
    stats.TOOL,
    raw_events.TOOL,
    funnel.TOOL,
    retention.TOOL,
    describe_data.TOOL,
)


def find_tool(name: str) -> Tool[Any, Any] | None:
    """Return the tool with this name, here or on the hosted server."""
    return next((tool for tool in TOOLS if name in {tool.name, tool.hosted_name}), None)
