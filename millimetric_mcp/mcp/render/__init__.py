"""Rows as the compact text a model reads: receipt lines first, then comma-separated rows. Pure.

What strangers wrote (URLs, referrers, properties, names) is made harmless, and can neither end
its row nor look like a receipt line. A text keeps to its budget by leaving out whole rows from
the end; it says how many, and how to get them. Structured content is made from the same rows
(the first `Rendered.shown`) by `present` and `present_event`, so that both say the same; rows
that don't fit there are handed over as ``max_rows``.
"""

from millimetric_mcp.mcp.render.events import (
    DEFAULT_EVENT_COLUMNS,
    EVENT_COLUMNS,
    order_columns,
    present_event,
    render_events,
)
from millimetric_mcp.mcp.render.sources import (
    SourceChange,
    compare_sources,
    describe_change,
    describe_split,
    render_comparison,
    render_sources,
)
from millimetric_mcp.mcp.render.stats import (
    MAX_FILLED_ROWS,
    check_fillable,
    describe_cut_buckets,
    fill_buckets,
    render_stats,
)
from millimetric_mcp.mcp.render.table import Rendered, fit, join_cells
from millimetric_mcp.mcp.render.tokens import estimate_tokens
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
    "MAX_FILLED_ROWS",
    "MAX_MARK_CHARS",
    "Rendered",
    "SourceChange",
    "check_fillable",
    "clean",
    "compare_sources",
    "describe_change",
    "describe_cut_buckets",
    "describe_split",
    "escape_invisible",
    "estimate_tokens",
    "fill_buckets",
    "fit",
    "join_cells",
    "order_columns",
    "present",
    "present_event",
    "render_comparison",
    "render_events",
    "render_sources",
    "render_stats",
    "shorten",
]
