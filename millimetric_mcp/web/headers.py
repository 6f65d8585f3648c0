"""Request headers that both servers read."""

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import RequestError


def read_bearer(authorization: str | None) -> str:
    """Return the token of an ``Authorization: Bearer`` header.

    Raises:
        RequestError: missing_bearer_token.
    """
    scheme, _, token = (authorization or "").strip().partition(" ")
    token = token.strip()
    if not token or scheme.lower() != "bearer":
        raise RequestError(ErrorCode.MISSING_BEARER_TOKEN)
    return token
