"""The text of a failed call: what happened, and what to do next.

Nothing from the API is repeated except known error codes, known field names, seconds and the
reference of a line in its log.
"""

import math
from collections.abc import Mapping

from millimetric_mcp import errors
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import NextStep

DEFAULT_WAIT_S = 5

_OPENINGS: Mapping[NextStep, str] = {
    NextStep.FIX_ARGUMENTS: "Fix the arguments",
    NextStep.WAIT: "Wait {wait_s} s and retry",
    NextStep.CONFIGURE: "A person must change the configuration",
    NextStep.LOOK_FIRST: "Wait {wait_s} s and look before you retry",
}

_CHECK_KEY = "check that the key is complete and not revoked (sk_… writes, rk_… reads)"
_CHECK_HOST = "check that MILLIMETRIC_HOST is the address of a Millimetric API"

EXPLANATIONS: Mapping[ErrorCode, str] = {
    ErrorCode.INVALID_PAYLOAD: "the API refused a field of the event",
    ErrorCode.INVALID_PARAMS: "the API refused an argument of the question",
    ErrorCode.INVALID_GROUP_BY: "group_by names a column that the API does not group by",
    ErrorCode.MISSING_BEARER_TOKEN: f"the API got no key; {_CHECK_KEY}",
    ErrorCode.MALFORMED_API_KEY: f"the key is malformed; {_CHECK_KEY}",
    ErrorCode.INVALID_API_KEY: f"the API does not know the key, or it is revoked; {_CHECK_KEY}",
    ErrorCode.KEY_KIND_MISMATCH: f"the API knows the key as another kind; {_CHECK_KEY}",
    ErrorCode.ORIGIN_NOT_ALLOWED: "the key is a browser's key (pk_…); use a server key (sk_…)",
    ErrorCode.INSUFFICIENT_SCOPE: f"this kind of key is not allowed to do this; {_CHECK_KEY}",
    ErrorCode.FORGET_REQUIRES_SECRET_KEY: "only a server key (sk_…) is allowed to delete a user",
    ErrorCode.NOT_FOUND: "the API does not have this endpoint; only the API of millimetric-mcp has "
    f"funnels, retention and descriptions of data; {_CHECK_HOST}",
    ErrorCode.METHOD_NOT_ALLOWED: f"the API does not allow this method; {_CHECK_HOST}",
    ErrorCode.IMPORT_BUSY: "another request writes this part of the import, or takes it back",
    ErrorCode.PAYLOAD_TOO_LARGE: "the request is too large; send fewer or smaller events",
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: f"the API does not accept JSON here; {_CHECK_HOST}",
    ErrorCode.RATE_LIMITED: "the API's rate limit is reached",
    ErrorCode.DAILY_LIMIT_REACHED: "browser keys have stored as much as they may today (UTC)",
    ErrorCode.TOO_MANY_NAMES: "browser keys have brought too many different names",
    ErrorCode.QUERY_TOO_LARGE: (
        "the query needs too much time or memory; ask for a shorter window or fewer columns"
    ),
    ErrorCode.INTERNAL_ERROR: "the API failed",
    ErrorCode.FORGET_FAILED: "the API did not queue the deletion",
    ErrorCode.UPSTREAM_FAILED: "the API's store is not available, and nothing was stored",
}
"""A sentence for every error code."""


def write_unexpected(reference: str) -> str:
    """Return the text of an unexpected error of this server; its log has the reference."""
    opening = _open(NextStep.CONFIGURE)
    return f"{opening}: this server failed unexpectedly. Its log says why: reference {reference}."


def write_error(error: errors.CallError | errors.ToolRefusal, *, over_http: bool) -> str:
    """Return what happened and what to do next.

    ``over_http``: the caller sends its keys with each request.
    """
    match error:
        case errors.InvalidArguments():
            lines = "\n".join(f"- {line}" for line in error.errors)
            return f"{_open(NextStep.FIX_ARGUMENTS)}:\n{lines}"
        case errors.KeyMissing():
            return f"{_open(error.next_step)}: {_advise_key(error.variable, over_http=over_http)}"
        case errors.ApiError():
            named = f" (fields: {', '.join(error.fields)})" if error.fields else ""
            opening = _open(error.next_step, error.retry_after_s)
            look = (
                f" The API's log says why: reference {error.reference}." if error.reference else ""
            )
            return f"{opening}: {EXPLANATIONS[error.code]}{named}. Code: {error.code}.{look}"
        case errors.CallError():
            return f"{_open(error.next_step, error.retry_after_s)}: {str(error).rstrip('.')}."
        case _:
            return f"{_open(NextStep.CONFIGURE)}: {error}."


def _open(next_step: NextStep, retry_after_s: float | None = None) -> str:
    wait_s = DEFAULT_WAIT_S if retry_after_s is None else max(1, math.ceil(retry_after_s))
    return _OPENINGS[next_step].format(wait_s=wait_s)


def _advise_key(variable: str, *, over_http: bool) -> str:
    kind, purpose = ("rk", "read") if variable == "MILLIMETRIC_RK" else ("sk", "write")
    if over_http:
        hint = " (or Millimetric-Read-Key: rk_… beside an sk_…)" if kind == "rk" else ""
        header = f"Authorization: Bearer {kind}_…{hint}"
        return f"to {purpose}, send a key of kind {kind} with each request, as {header}."
    return (
        f"{variable} is not set. To {purpose}, put a key of kind {kind} ({kind}_…) into {variable} "
        "in the environment of this server (the env block of its entry in mcp.json) and restart "
        f"it. For a local API, create a key with: millimetric-mcp keys create --kind {kind}"
    )
