"""Projects, their keys and the forget log: SQLite in the data directory, or PostgreSQL."""

from millimetric_mcp.api.control.cache import KeyCache
from millimetric_mcp.api.control.database import (
    FIRST_PROJECT,
    Control,
    KeySummary,
    NewKey,
    open_control,
)
from millimetric_mcp.api.control.datadir import (
    Secrets,
    control_dsn,
    keep_private,
    make_private_directory,
    prepare_data_dir,
    read_or_make_secret,
    resolve_secrets,
    write_private_file,
)
from millimetric_mcp.api.control.forgets import Forget, ForgetLog

__all__ = [
    "FIRST_PROJECT",
    "Control",
    "Forget",
    "ForgetLog",
    "KeyCache",
    "KeySummary",
    "NewKey",
    "Secrets",
    "control_dsn",
    "keep_private",
    "make_private_directory",
    "open_control",
    "prepare_data_dir",
    "read_or_make_secret",
    "resolve_secrets",
    "write_private_file",
]
