"""Checks a request's key, scope and origin, in this order."""

from collections.abc import Awaitable, Callable
from hmac import compare_digest
from typing import Any

from millimetric_mcp.contract import keys
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import Endpoint
from millimetric_mcp.contract.keys import SCOPES, KeyKind, KeyRecord, Scope
from millimetric_mcp.errors import RequestError
from millimetric_mcp.web.headers import read_bearer

FindKey = Callable[[str], Awaitable[KeyRecord | None]]

_SHOWN_ORIGIN_CHARS = 256
_NO_HASH = bytes(32)


async def authenticate(authorization: str | None, *, find: FindKey, pepper: bytes) -> KeyRecord:
    """Return the record of the key in an ``Authorization`` header.

    ``find`` returns the record of a prefix; None if it is unknown or revoked. A prefix is no
    secret: key_kind_mismatch, and the time of the first look-up, show whether there is such a key.

    Raises:
        RequestError: missing_bearer_token, malformed_api_key, invalid_api_key or
            key_kind_mismatch.
    """
    key = keys.parse_api_key(read_bearer(authorization))
    if key is None:
        raise RequestError(ErrorCode.MALFORMED_API_KEY)
    record = await find(key.prefix)
    # A wrong secret takes as long as an unknown prefix: always one hash and one comparison,
    # in constant time. (Only the first look-up of a prefix waits for the database.)
    sent_hash = keys.hash_secret(key.secret, pepper=pepper)
    matches = compare_digest(sent_hash, record.secret_hash if record else _NO_HASH)
    if record is None:
        raise RequestError(ErrorCode.INVALID_API_KEY)
    if record.kind is not key.kind:
        raise RequestError(ErrorCode.KEY_KIND_MISMATCH)
    if record.env is not key.env or not matches:
        raise RequestError(ErrorCode.INVALID_API_KEY)
    return record


def authorise(record: KeyRecord, endpoint: Endpoint[Any, Any]) -> None:
    """Raise if this kind of key may not call the endpoint.

    Raises:
        RequestError: forget_requires_secret_key or insufficient_scope.
    """
    if endpoint.scope in SCOPES[record.kind]:
        return
    if endpoint.scope is Scope.FORGET and record.kind is KeyKind.PK:
        raise RequestError(ErrorCode.FORGET_REQUIRES_SECRET_KEY)
    raise RequestError(ErrorCode.INSUFFICIENT_SCOPE)


def check_origin(record: KeyRecord, origin: str | None) -> None:
    """Raise if it is a browser key and ``origin`` is not on its allowlist.

    Raises:
        RequestError: origin_not_allowed, with the origin that was sent (empty without one).
    """
    if record.kind is not KeyKind.PK or origin in record.origins:
        return
    sent = origin or ""
    if keys.normalise_origin(sent) not in record.origins:
        cut = sent[:_SHOWN_ORIGIN_CHARS]
        shown = "".join(char if char.isascii() and char.isprintable() else "?" for char in cut)
        raise RequestError(ErrorCode.ORIGIN_NOT_ALLOWED, origin=shown)
