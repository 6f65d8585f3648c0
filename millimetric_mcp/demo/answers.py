"""The parts of the tools' structured answers that the walk-through shows and checks."""

from pydantic import BaseModel

from millimetric_mcp.contract.reads import SourceRow, StatsRow

EVENT_FIELDS = ("timestamp", "event_name", "path", "source", "medium", "source_rule_id")
"""The columns of `EventSeen`."""


class Written(BaseModel):
    """Of the tools that write."""

    ok: bool


class Forgotten(BaseModel):
    """Of ``forget``; not queued means that the user declined."""

    queued: bool


class Sources(BaseModel):
    """Of ``top_sources``, most events first."""

    rows: list[SourceRow]


class Statistics(BaseModel):
    """Of ``stats``; ``total`` is the whole window's."""

    total: int
    rows: list[StatsRow]


class EventSeen(BaseModel):
    """One event as ``raw_events`` shows it; times are UTC."""

    timestamp: str
    event_name: str
    path: str = ""
    source: str
    medium: str
    source_rule_id: str


class Events(BaseModel):
    """Of ``raw_events``, newest first."""

    rows: list[EventSeen]
