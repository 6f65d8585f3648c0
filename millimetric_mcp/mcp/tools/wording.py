"""Parts of sentences that results and prompts share."""

from millimetric_mcp.mcp.render.untrusted import clean

MAX_NAME_CHARS = 100
NO_COUNTRIES = (
    "No event in the window has a country. It comes from the address that sends an event: an event "
    "that a server sends has the server's, and private addresses have none. An embedded API also "
    "needs the geo extra; its log says at the start if that is missing."
)


def quote(text: str, *, max_chars: int = MAX_NAME_CHARS) -> str:
    """Return a visitor's text in quotes: cleaned, cut, and with its own quotes escaped."""
    shown = clean(text, max_chars=max_chars).replace('"', '\\"')
    return f'"{shown}"'


def advise_limit(limit: int, *, most: int, otherwise: str) -> str:
    """Return how to get more rows than ``limit``; ``otherwise`` if it is as large as it may be."""
    return f"raise limit (at most {most})" if limit < most else otherwise


def count(number: int, noun: str) -> str:
    """Return a count with its noun, such as ``1 row`` and ``2 rows``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
