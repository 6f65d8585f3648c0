"""A failed call in our words: what happened, and which of three things to do next.

Nothing that an API answered is repeated: of its answers only known codes, the names of fields
that our models know and a number of seconds get this far.
"""

import math
from collections.abc import Mapping

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.errors import (
    ApiError,
    CallError,
    InvalidArguments,
    KeyMissing,
    MillimetricError,
    NextStep,
    NotAllowed,
)

DEFAULT_WAIT_S = 5

_OPENINGS: Mapping[NextStep, str] = {
    NextStep.FIX_ARGUMENTS: "Fix the arguments",
    NextStep.WAIT: "Wait {wait_s} s and retry",
    NextStep.CONFIGURE: "A person must change the configuration",
    NextStep.LOOK_FIRST: "Wait {wait_s} s and look before you retry",
}

_WRONG_KEY = "check that it is a whole, unrevoked key of this API (sk_… writes, rk_… reads)"
_NOT_THIS_API = "check that MILLIMETRIC_HOST is the address of a Millimetric API"

EXPLANATIONS: Mapping[ErrorCode, str] = {
    ErrorCode.INVALID_PAYLOAD: "the API refused what was to be stored",
    ErrorCode.INVALID_PARAMS: "the API refused the question",
    ErrorCode.INVALID_GROUP_BY: "group_by names a column that the API does not group by",
    ErrorCode.MISSING_BEARER_TOKEN: f"the API got no key; {_WRONG_KEY}",
    ErrorCode.MALFORMED_API_KEY: f"the API found the key malformed; {_WRONG_KEY}",
    ErrorCode.INVALID_API_KEY: f"the API does not know the key, or it is revoked; {_WRONG_KEY}",
    ErrorCode.KEY_KIND_MISMATCH: f"the API knows the key as another kind; {_WRONG_KEY}",
    ErrorCode.ORIGIN_NOT_ALLOWED: "the API took the key for a browser's; use one of kind sk",
    ErrorCode.INSUFFICIENT_SCOPE: f"the key may not do this; {_WRONG_KEY}",
    ErrorCode.FORGET_REQUIRES_SECRET_KEY: "forgetting a user takes a key of kind sk",
    ErrorCode.NOT_FOUND: f"the API does not have this endpoint; {_NOT_THIS_API}",
    ErrorCode.METHOD_NOT_ALLOWED: f"the API does not take this request; {_NOT_THIS_API}",
    ErrorCode.PAYLOAD_TOO_LARGE: "the API found it too large; send fewer or smaller events",
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: f"the API does not take JSON here; {_NOT_THIS_API}",
    ErrorCode.RATE_LIMITED: "the API's rate limit is reached",
    ErrorCode.INTERNAL_ERROR: "the API failed",
    ErrorCode.FORGET_FAILED: "the API did not queue the erasure",
    ErrorCode.UPSTREAM_FAILED: "the API's store is not available and stored nothing",
}
"""Every code of the contract, once."""


def explain(error: MillimetricError | None, *, over_http: bool) -> str:
    """What happened and what to do next; None is a fault of this server itself."""
    match error:
        case InvalidArguments():
            faults = "\n".join(f"- {fault}" for fault in error.errors)
            return f"{_open(NextStep.FIX_ARGUMENTS)}:\n{faults}"
        case NotAllowed():
            return f"{_open(NextStep.CONFIGURE)}: {error}."
        case KeyMissing():
            return f"{_open(error.next_step)}: {_advise_key(error.variable, over_http=over_http)}"
        case ApiError():
            named = f" (fields: {', '.join(error.fields)})" if error.fields else ""
            opening = _open(error.next_step, error.retry_after_s)
            return f"{opening}: {EXPLANATIONS[error.code]}{named}. Code: {error.code}."
        case CallError():
            return f"{_open(error.next_step, error.retry_after_s)}: {str(error).rstrip('.')}."
        case _:
            return (
                f"{_open(NextStep.CONFIGURE)}: this server failed unexpectedly; its log says more."
            )


def _open(next_step: NextStep, retry_after_s: float | None = None) -> str:
    wait_s = DEFAULT_WAIT_S if retry_after_s is None else max(1, math.ceil(retry_after_s))
    return _OPENINGS[next_step].format(wait_s=wait_s)


def _advise_key(variable: str, *, over_http: bool) -> str:
    kind, purpose = ("rk", "read") if variable == "MILLIMETRIC_RK" else ("sk", "write")
    if over_http:
        header = (
            "Authorization: Bearer rk_… (or Millimetric-Read-Key: rk_… beside an sk_…)"
            if kind == "rk"
            else "Authorization: Bearer sk_…"
        )
        return f"to {purpose}, send a key of kind {kind} with each request, as {header}."
    return (
        f"{variable} is not set. To {purpose}, put a key of kind {kind} ({kind}_…) into {variable} "
        "in the environment of this server (the env block of its entry in mcp.json) and restart "
        f"it. A local API makes one with: millimetric-mcp keys create --kind {kind}"
    )
