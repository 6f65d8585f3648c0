"""One-time links to the page: what ``millimetric-mcp open`` asks for, and the page hands in."""

from typing import Literal

from millimetric_mcp.contract.events import RequestBody, Result

LINK_LIFETIME_S = 60


class LinkRequest(RequestBody):
    """Asks for a code that signs a browser in with the key of this request."""


class LinkResult(Result):
    """200: ``code`` works once, within ``expires_in_s`` seconds."""

    ok: Literal[True]
    code: str
    expires_in_s: int
