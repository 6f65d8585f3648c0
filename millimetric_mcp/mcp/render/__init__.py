"""Rows as compact text for a model: a receipt, then a table of comma-separated lines. Pure.

Texts from visitors (URLs, referrers, properties, names) are escaped: they can't end their row
or look like a line of the receipt. If a text gets too long, whole rows are left out from the
end; a note counts them and says how to get them. Structured content has the same rows:
`present` and `present_event` clean its texts.
"""

from millimetric_mcp.mcp.render.events import (
    DEFAULT_EVENT_COLUMNS,
    EVENT_COLUMNS,
    present_event,
    render_events,
)
from millimetric_mcp.mcp.render.sources import (
    SourceChange,
    compare_sources,
    describe_split,
    render_sources,
)
from millimetric_mcp.mcp.render.stats import (
    check_fillable,
    describe_cut_buckets,
    fill_buckets,
    render_stats,
)
from millimetric_mcp.mcp.render.table import Rendered
from millimetric_mcp.mcp.render.untrusted import (
    MAX_CELL_CHARS,
    MAX_MARK_CHARS,
    clean,
    escape_invisible,
    present,
    shorten,
)

__all__ = [
    "DEFAULT_EVENT_COLUMNS",
    "EVENT_COLUMNS",
    "MAX_CELL_CHARS",
    "MAX_MARK_CHARS",
    "Rendered",
    "SourceChange",
    "check_fillable",
    "clean",
    "compare_sources",
    "describe_cut_buckets",
    "describe_split",
    "escape_invisible",
    "fill_buckets",
    "present",
    "present_event",
    "render_events",
    "render_sources",
    "render_stats",
    "shorten",
]
