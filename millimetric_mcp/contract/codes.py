"""Every error code of the API, with its HTTP statuses and meaning. The code is the contract."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ErrorCode(StrEnum):
    """The ``error`` value of an error body."""

    INVALID_PAYLOAD = "invalid_payload"
    INVALID_PARAMS = "invalid_params"
    INVALID_GROUP_BY = "invalid_group_by"
    MISSING_BEARER_TOKEN = "missing_bearer_token"
    MALFORMED_API_KEY = "malformed_api_key"
    INVALID_API_KEY = "invalid_api_key"
    KEY_KIND_MISMATCH = "key_kind_mismatch"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    FORGET_REQUIRES_SECRET_KEY = "forget_requires_secret_key"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    RATE_LIMITED = "rate_limited"
    INTERNAL_ERROR = "internal_error"
    FORGET_FAILED = "forget_failed"
    UPSTREAM_FAILED = "upstream_failed"


@dataclass(frozen=True, slots=True)
class ErrorFact:
    """A code's HTTP statuses, the usual one first, and its meaning in one sentence."""

    statuses: tuple[int, ...]
    meaning: str


ERRORS: Mapping[ErrorCode, ErrorFact] = {
    ErrorCode.INVALID_PAYLOAD: ErrorFact((400,), "The body is not valid; details name the fields."),
    ErrorCode.INVALID_PARAMS: ErrorFact(
        (400,), "The query string is not valid; details name the parameters."
    ),
    ErrorCode.INVALID_GROUP_BY: ErrorFact(
        (400,), "group_by names an unknown column; details list the allowed ones."
    ),
    ErrorCode.MISSING_BEARER_TOKEN: ErrorFact(
        (401,), "There is no 'Authorization: Bearer <key>' header."
    ),
    ErrorCode.MALFORMED_API_KEY: ErrorFact(
        (401,), "The token does not have the form (pk|sk|rk)_(live|test)_<prefix>_<secret>."
    ),
    ErrorCode.INVALID_API_KEY: ErrorFact(
        (401,), "The key is unknown, revoked or has a wrong secret."
    ),
    ErrorCode.KEY_KIND_MISMATCH: ErrorFact(
        (401,), "The key starts with the wrong letters, for example sk_ instead of rk_."
    ),
    ErrorCode.ORIGIN_NOT_ALLOWED: ErrorFact(
        (403,), "A browser key was used from an Origin that is not on its allowlist."
    ),
    ErrorCode.INSUFFICIENT_SCOPE: ErrorFact((403,), "This kind of key may not call this endpoint."),
    ErrorCode.FORGET_REQUIRES_SECRET_KEY: ErrorFact(
        (403,), "Deleting a user needs a server key (sk)."
    ),
    ErrorCode.NOT_FOUND: ErrorFact((404,), "There is no such path."),
    ErrorCode.METHOD_NOT_ALLOWED: ErrorFact((405,), "The path exists, but not with this method."),
    ErrorCode.PAYLOAD_TOO_LARGE: ErrorFact(
        (413,),
        "The body is larger than 10 MiB (10,485,760 bytes), as sent or inflated, or holds more "
        "than 300,000 JSON values (commas and brackets count, inside texts too).",
    ),
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: ErrorFact(
        (415,), "The body must be application/json in UTF-8, plain or gzip."
    ),
    ErrorCode.RATE_LIMITED: ErrorFact((429,), "Too many requests; wait Retry-After seconds."),
    ErrorCode.INTERNAL_ERROR: ErrorFact((500,), "The server failed unexpectedly."),
    ErrorCode.FORGET_FAILED: ErrorFact((500,), "The deletion was not queued; call again."),
    ErrorCode.UPSTREAM_FAILED: ErrorFact(
        (503, 502),
        "The store failed. 503: nothing was stored. 502: it is unknown whether it was.",
    ),
}
