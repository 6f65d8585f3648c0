"""The event store: ClickHouse, in this process (chDB) or on a server or cluster."""

from millimetric_mcp.api.store.backups import read_backup
from millimetric_mcp.api.store.clients import ClientPool
from millimetric_mcp.api.store.directory import hold_directories
from millimetric_mcp.api.store.dsn import StoreTarget, embedded_target, parse_store_dsn
from millimetric_mcp.api.store.event_store import EventStore, open_event_store
from millimetric_mcp.api.store.migrations import migrate, newest_version
from millimetric_mcp.api.store.names import StoredName
from millimetric_mcp.api.store.protocol import Store
from millimetric_mcp.api.store.reads import has_events
from millimetric_mcp.api.store.upgrade import keeping_copy, open_upgraded, report_building

__all__ = [
    "ClientPool",
    "EventStore",
    "Store",
    "StoreTarget",
    "StoredName",
    "embedded_target",
    "has_events",
    "hold_directories",
    "keeping_copy",
    "migrate",
    "newest_version",
    "open_event_store",
    "open_upgraded",
    "parse_store_dsn",
    "read_backup",
    "report_building",
]
