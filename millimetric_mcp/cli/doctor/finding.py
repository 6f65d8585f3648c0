"""What `doctor` reports."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is: ``broken`` ends the command with exit code 1."""

    OK = "ok"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, why it matters, and what to do. ``ok`` needs no reason and no action."""

    check: str
    level: Level
    what: str
    why: str = ""
    action: str = ""


def ok(check: str, what: str) -> Finding:
    return Finding(check, Level.OK, what)


def note(check: str, what: str, why: str, action: str) -> Finding:
    return Finding(check, Level.NOTE, what, why, action)


def broken(check: str, what: str, why: str, action: str) -> Finding:
    return Finding(check, Level.BROKEN, what, why, action)
