"""Every error code of the API, with its HTTP statuses and meaning. The code is the contract."""

from enum import StrEnum
from typing import Self


class ErrorCode(StrEnum):
    """The ``error`` value of an error body.

    ``statuses`` are its HTTP statuses, the usual one first. ``meaning`` is one sentence.
    """

    statuses: tuple[int, ...]
    meaning: str

    def __new__(cls, code: str, meaning: str, *statuses: int) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning, member.statuses = meaning, statuses
        return member

    # fmt: off
    INVALID_PAYLOAD = "invalid_payload", "The body is not valid; details name the fields.", 400
    INVALID_PARAMS = (
        "invalid_params", "The query string is not valid; details name the parameters.", 400)
    INVALID_GROUP_BY = (
        "invalid_group_by", "group_by names an unknown column; details list the allowed ones.", 400)
    QUERY_TOO_LARGE = (
        "query_too_large", ("The query needs more time or memory than allowed. Ask for a shorter "
        "window, fewer columns or a longer interval."), 400)
    MISSING_BEARER_TOKEN = (
        "missing_bearer_token", "There is no 'Authorization: Bearer <key>' header.", 401)
    MALFORMED_API_KEY = (
        "malformed_api_key",
        "The token does not have the form (pk|sk|rk)_(live|test)_<prefix>_<secret>.", 401)
    INVALID_API_KEY = "invalid_api_key", "The key is unknown, revoked or has a wrong secret.", 401
    KEY_KIND_MISMATCH = (
        "key_kind_mismatch",
        "The key starts with the wrong letters, for example sk_ instead of rk_.", 401)
    ORIGIN_NOT_ALLOWED = (
        "origin_not_allowed",
        "A browser key was used from an Origin that is not on its allowlist.", 403)
    INSUFFICIENT_SCOPE = "insufficient_scope", "This kind of key may not call this endpoint.", 403
    FORGET_REQUIRES_SECRET_KEY = (
        "forget_requires_secret_key", "Deleting a user needs a server key (sk).", 403)
    NOT_FOUND = "not_found", "There is no such path.", 404
    METHOD_NOT_ALLOWED = "method_not_allowed", "The path exists, but not with this method.", 405
    IMPORT_BUSY = (
        "import_busy", ("This part is being written by another request, or the import is being "
        "taken back; wait Retry-After seconds."), 409)
    PAYLOAD_TOO_LARGE = (
        "payload_too_large", ("The body is larger than 10 MiB (10,485,760 bytes), as sent or "
        "inflated, or holds more JSON values than 10,000 and one per 6 bytes, at most 300,000 "
        "(commas and brackets count, inside texts too)."), 413)
    UNSUPPORTED_MEDIA_TYPE = (
        "unsupported_media_type", "The body must be application/json in UTF-8, plain or gzip.", 415)
    RATE_LIMITED = "rate_limited", "Too many requests; wait Retry-After seconds.", 429
    DAILY_LIMIT_REACHED = (
        "daily_limit_reached", ("Browser keys have stored as much as they may on this day (UTC); "
        "server keys are not affected."), 429)
    TOO_MANY_NAMES = (
        "too_many_names", ("Browser keys have brought too many different event names, sources or "
        "campaigns. Names in use, and server keys, are not affected."), 403)
    INTERNAL_ERROR = "internal_error", "The server failed unexpectedly.", 500
    FORGET_FAILED = "forget_failed", "The deletion was not queued; call again.", 500
    UPSTREAM_FAILED = (
        "upstream_failed", ("The store failed. 503: nothing was stored. 502: it is unknown whether "
        "it was."), 503, 502)
