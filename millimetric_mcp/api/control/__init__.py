"""Projects, their keys and the log of deletions: in SQLite, or in PostgreSQL."""

from millimetric_mcp.api.control.cache import KeyCache
from millimetric_mcp.api.control.database import (
    FIRST_PROJECT,
    Control,
    ControlFacts,
    KeySummary,
    NewKey,
    Revocation,
    check_control,
    open_control,
)
from millimetric_mcp.api.control.datadir import Secrets
from millimetric_mcp.api.control.deletions import Deletion, DeletionLog
from millimetric_mcp.api.control.imports import Claim, ClaimedPart, ImportLog, PartWriter
from millimetric_mcp.api.control.links import Links
from millimetric_mcp.api.control.projects import Project, Projects
from millimetric_mcp.api.control.schema import TEST_SUFFIX, DeletionKind
from millimetric_mcp.api.control.use import KeyUse

__all__ = [
    "FIRST_PROJECT",
    "TEST_SUFFIX",
    "Claim",
    "ClaimedPart",
    "Control",
    "ControlFacts",
    "Deletion",
    "DeletionKind",
    "DeletionLog",
    "ImportLog",
    "KeyCache",
    "KeySummary",
    "KeyUse",
    "Links",
    "NewKey",
    "PartWriter",
    "Project",
    "Projects",
    "Revocation",
    "Secrets",
    "check_control",
    "open_control",
]
