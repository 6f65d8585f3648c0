"""The tools, in the order they are listed."""

from typing import Any

from millimetric_mcp.mcp.tools.batch import BATCH_TOOL
from millimetric_mcp.mcp.tools.forget import FORGET_TOOL
from millimetric_mcp.mcp.tools.identify import IDENTIFY_TOOL
from millimetric_mcp.mcp.tools.raw_events import RAW_EVENTS
from millimetric_mcp.mcp.tools.spec import ToolSpec
from millimetric_mcp.mcp.tools.stats import STATS_TOOL
from millimetric_mcp.mcp.tools.top_sources import TOP_SOURCES
from millimetric_mcp.mcp.tools.track_event import TRACK_EVENT

__all__ = ["TOOLS"]

TOOLS: tuple[ToolSpec[Any, Any], ...] = (
    TRACK_EVENT,
    IDENTIFY_TOOL,
    BATCH_TOOL,
    FORGET_TOOL,
    TOP_SOURCES,
    STATS_TOOL,
    RAW_EVENTS,
)
