"""Every exception of this package.

MillimetricError
├── SettingsError              settings are missing or wrong; it names all of them
├── RequestError               the API refuses a request with an error body
├── StoreError                 the event store or the control database failed
│   ├── StoreUnavailable       nothing was stored: it is down, or its queue is full
│   │   └── StoreRefused       nothing was stored: it refused this statement
│   ├── StoreUncertain         the write may have been stored
│   └── DataDirectoryInUse     another process uses the data directory
├── BackupUnusable            a backup is incomplete, damaged or newer, or its place is taken
├── ImportFailed               a file can't be imported
├── DemoFailed                 the demo can't go on
├── LocalApiFailed             the shared API of this machine did not start or end
├── ToolRefusal                a tool call is refused before a request is sent
│   ├── InvalidArguments       arguments are unknown, missing or invalid
│   └── NotAllowed             the server's settings or the client do not allow it
└── CallError                  a call of the API failed
    ├── ApiError               the response is an error of the contract
    ├── UpstreamError          no response, or one that is not in the contract
    ├── KeyMissing             the call needs a key that is not set
    └── UncertainWrite         a write got no response, and may have been stored
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from secrets import token_hex
from typing import Any

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.validation import FieldError, error_details

__all__ = [
    "ApiError",
    "BackupUnusable",
    "CallError",
    "DataDirectoryInUse",
    "DemoFailed",
    "ImportFailed",
    "InvalidArguments",
    "KeyMissing",
    "LocalApiFailed",
    "MillimetricError",
    "NextStep",
    "NotAllowed",
    "RequestError",
    "SettingsError",
    "StoreError",
    "StoreRefused",
    "StoreUnavailable",
    "StoreUncertain",
    "ToolRefusal",
    "UncertainWrite",
    "UpstreamError",
    "describe_exception",
    "describe_failure",
    "trace_exception",
]

MAX_TRACE = 20
"""The innermost calls of a traceback; the log has so many."""


class MillimetricError(Exception):
    """The base of this package's errors; their texts are written for people."""


class SettingsError(MillimetricError):
    """Settings are missing or wrong; a sentence for each, which shows no secret."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)


class RequestError(MillimetricError):
    """The API refuses a request; ``code`` and ``details`` are those of the error body."""

    def __init__(
        self,
        code: StrEnum,
        *,
        status: int | None = None,
        details: Mapping[str, Any] | None = None,
        origin: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        fact = code if isinstance(code, ErrorCode) else None
        super().__init__(fact.meaning if fact else code)
        self.code = code
        self.status = status or (fact.statuses[0] if fact else 400)
        self.details = details
        self.origin = origin
        self.retry_after_s = retry_after_s

    @classmethod
    def from_field_errors(cls, code: ErrorCode, errors: Sequence[FieldError]) -> "RequestError":
        """Return a refusal whose ``details`` name the invalid fields."""
        return cls(code, details=error_details(errors))

    def body(self) -> dict[str, Any]:
        """Return the error body."""
        extras = {
            "details": self.details,
            "origin": self.origin,
            "retry_after_s": self.retry_after_s,
        }
        present = {name: value for name, value in extras.items() if value is not None}
        return {"error": self.code.value, **present}


class StoreError(MillimetricError):
    """The event store or the control database failed."""


class StoreUnavailable(StoreError):
    """Nothing was stored; try again after ``retry_after_s`` seconds."""

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreRefused(StoreUnavailable):
    """The store refused one statement; others may succeed."""


class StoreUncertain(StoreError):
    """The store did not answer, so the write may have been stored."""


class DataDirectoryInUse(StoreError):
    """Another process uses the data directory."""


class BackupUnusable(MillimetricError):
    """A backup can't be written or restored as asked; nothing was changed."""


class ImportFailed(MillimetricError):
    """A file can't be imported; the text says why and what to do."""


class DemoFailed(MillimetricError):
    """The demo can't go on: a process ended, or a result was an error."""


class LocalApiFailed(MillimetricError):
    """The shared API of this machine did not start, or did not end."""


class ToolRefusal(MillimetricError):
    """A tool call is refused before a request is sent."""


class InvalidArguments(ToolRefusal):
    """Arguments are unknown, missing or invalid; a sentence for each, field first."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)


class NotAllowed(ToolRefusal):
    """The server's settings or the client do not allow the call."""


class NextStep(StrEnum):
    """What to do after a failed call."""

    FIX_ARGUMENTS = "fix_arguments"
    WAIT = "wait"
    CONFIGURE = "configure"
    LOOK_FIRST = "look_first"


class CallError(MillimetricError):
    """A call of the Millimetric API failed.

    ``next_step`` says what to do: change the arguments; wait ``retry_after_s`` seconds (None:
    unknown) and call again; let a person change the configuration; or check whether the write
    was stored before repeating it.
    """

    next_step: NextStep
    retry_after_s: float | None = None


_NEXT_STEPS: Mapping[int, NextStep] = {
    400: NextStep.FIX_ARGUMENTS,
    409: NextStep.WAIT,
    413: NextStep.FIX_ARGUMENTS,
    429: NextStep.WAIT,
    500: NextStep.WAIT,
    502: NextStep.WAIT,
    503: NextStep.WAIT,
}


class ApiError(CallError):
    """The API refused the call with a code of the contract.

    ``fields`` are the field names in the response that our own models know too. ``reference``
    finds the error in the API's log. Other text of the response is dropped.
    """

    def __init__(
        self,
        code: ErrorCode,
        *,
        status: int,
        fields: Sequence[str] = (),
        retry_after_s: float | None = None,
        reference: str | None = None,
    ) -> None:
        super().__init__(code.meaning)
        self.code = code
        self.status = status
        self.fields = tuple(fields)
        self.retry_after_s = retry_after_s
        self.reference = reference
        self.next_step = _NEXT_STEPS.get(code.statuses[0], NextStep.CONFIGURE)


class UpstreamError(CallError):
    """The API could not be reached, or its response is not in the contract.

    ``status`` is that of an error response without a code of the contract.
    """

    def __init__(
        self,
        message: str,
        *,
        next_step: NextStep,
        retry_after_s: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.next_step = next_step
        self.retry_after_s = retry_after_s


class UnknownExtension(UpstreamError):
    """The API does not know parameters beyond the hosted API's; ``names`` are theirs."""

    def __init__(self, names: Sequence[str], *, api_url: str) -> None:
        super().__init__(
            f"The API at {api_url} doesn't know {', '.join(names) or 'this question'}. "
            "Ask without it, or use the API of millimetric-mcp.",
            next_step=NextStep.FIX_ARGUMENTS,
        )
        self.names = tuple(names)


class KeyMissing(CallError):
    """The call needs a key that is not set; ``variable`` is its environment variable."""

    next_step = NextStep.CONFIGURE

    def __init__(self, variable: str) -> None:
        super().__init__(f"{variable} is not set")
        self.variable = variable


class UncertainWrite(CallError):
    """A write was sent, and it is unknown whether it was stored.

    ``event_id`` finds the event if it was stored; in a batch, which is stored whole or not at
    all, it is the first event's.
    """

    next_step = NextStep.LOOK_FIRST

    def __init__(self, message: str, *, event_id: str | None = None) -> None:
        super().__init__(message)
        self.event_id = event_id


def trace_exception(error: BaseException) -> list[str]:
    """Return the places that an exception passed, outermost first, without any value or text."""
    places, step = [], error.__traceback__
    while step is not None:
        places.append(f"{step.tb_frame.f_code.co_qualname}:{step.tb_lineno}")
        step = step.tb_next
    return places


def describe_exception(error: BaseException) -> str:
    """Return an exception's type and place for a log; its text may quote what callers sent."""
    places = trace_exception(error)
    return type(error).__name__ + (f" at {places[-1]}" if places else "")


def describe_failure(error: BaseException) -> dict[str, Any]:
    """Return the fields of a failure for a log; the answer to it carries the same reference.

    The place and the traceback have neither values nor texts. An expected error of the store, and
    a request that is cancelled, have no traceback.
    """
    cause = error.__cause__ if isinstance(error, RequestError) and error.__cause__ else error
    fields: dict[str, Any] = {"reference": token_hex(4), "error": describe_exception(cause)}
    if isinstance(cause, Exception) and not isinstance(cause, MillimetricError):
        fields["trace"] = trace_exception(cause)[-MAX_TRACE:]
    return fields
