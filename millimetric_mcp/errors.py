"""Every exception of this package.

MillimetricError
├── SettingsError              a setting is missing or wrong; every fault is named at once
├── RequestError               a request the API answers with an error body
├── StoreError                 the event store
│   ├── StoreUnavailable       nothing was stored: queue full or store down
│   │   └── StoreRefused       nothing was stored: the store said no to this statement
│   ├── StoreUncertain         it is not known whether the write happened
│   └── DataDirectoryInUse     another process holds the embedded store's directory
├── DemoFailed                 the walk-through can't go on
├── ToolRefusal                a tool call is refused before anything is sent
│   ├── InvalidArguments       an argument is unknown, missing or wrong
│   └── NotAllowed             the server's settings, or what the client can do, forbid it
└── CallError                  the MCP half's call of the API failed
    ├── ApiError               the API answered with one of the contract's error codes
    ├── UpstreamError          no answer, or one that is not the contract's
    ├── KeyMissing             the call needs a key that is not configured
    └── UncertainWrite         a write was sent and no answer came: it may be stored
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from millimetric_mcp.contract.codes import ERRORS, ErrorCode
from millimetric_mcp.contract.validation import FieldError, error_details

__all__ = [
    "ApiError",
    "CallError",
    "DataDirectoryInUse",
    "DemoFailed",
    "InvalidArguments",
    "KeyMissing",
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
]


class MillimetricError(Exception):
    """Whatever this package raises on purpose; the text is fit for a person to read."""


class SettingsError(MillimetricError):
    """One or more settings are missing or wrong; secrets are named, never shown."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)


class RequestError(MillimetricError):
    """A request that the API refuses: the code is the contract, the rest explains it."""

    def __init__(
        self,
        code: StrEnum,
        *,
        status: int | None = None,
        details: Mapping[str, Any] | None = None,
        origin: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        fact = ERRORS[code] if isinstance(code, ErrorCode) else None
        super().__init__(fact.meaning if fact else code)
        self.code = code
        self.status = status or (fact.statuses[0] if fact else 400)
        self.details = details
        self.origin = origin
        self.retry_after_s = retry_after_s

    @classmethod
    def from_field_errors(cls, code: ErrorCode, errors: Sequence[FieldError]) -> "RequestError":
        """A refusal whose ``details`` name each fault's field."""
        return cls(code, details=error_details(errors))

    def body(self) -> dict[str, Any]:
        """The error body of the contract."""
        extras = {
            "details": self.details,
            "origin": self.origin,
            "retry_after_s": self.retry_after_s,
        }
        present = {name: value for name, value in extras.items() if value is not None}
        return {"error": self.code.value, **present}


class StoreError(MillimetricError):
    """The event store failed."""


class StoreUnavailable(StoreError):
    """Certainly nothing was stored; ``retry_after_s`` says when to try again."""

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreRefused(StoreUnavailable):
    """The store said no to one statement; another may well succeed."""


class StoreUncertain(StoreError):
    """The store did not answer; whether the write happened is not known."""


class DataDirectoryInUse(StoreError):
    """Another process holds the embedded store's data directory."""


class DemoFailed(MillimetricError):
    """The walk-through can't go on: a process died, or an answer was an error."""


class ToolRefusal(MillimetricError):
    """A tool call is refused before anything is sent."""


class InvalidArguments(ToolRefusal):
    """Arguments are unknown, missing or wrong: a sentence for each, field first."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)


class NotAllowed(ToolRefusal):
    """The server's settings, or what the client can do, forbid the call."""


class NextStep(StrEnum):
    """What helps against a failed call."""

    FIX_ARGUMENTS = "fix_arguments"
    WAIT = "wait"
    CONFIGURE = "configure"
    LOOK_FIRST = "look_first"


class CallError(MillimetricError):
    """A call of the Millimetric API failed.

    ``next_step`` says what helps: other arguments, waiting ``retry_after_s`` (None: unknown, a
    little while) and calling again, a person who changes the configuration, or looking
    whether the write was stored before it is repeated.
    """

    next_step: NextStep
    retry_after_s: float | None = None


_NEXT_STEPS: Mapping[int, NextStep] = {
    400: NextStep.FIX_ARGUMENTS,
    413: NextStep.FIX_ARGUMENTS,
    429: NextStep.WAIT,
    500: NextStep.WAIT,
    502: NextStep.WAIT,
    503: NextStep.WAIT,
}


class ApiError(CallError):
    """The API refused the call with a code of the contract.

    ``fields`` are the names our own models know among those that the API's details name;
    nothing else of the answer's text is kept.
    """

    def __init__(
        self,
        code: ErrorCode,
        *,
        status: int,
        fields: Sequence[str] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(ERRORS[code].meaning)
        self.code = code
        self.status = status
        self.fields = tuple(fields)
        self.retry_after_s = retry_after_s
        self.next_step = _NEXT_STEPS.get(ERRORS[code].statuses[0], NextStep.CONFIGURE)


class UpstreamError(CallError):
    """The API could not be reached, or its answer is not the contract's."""

    def __init__(
        self, message: str, *, next_step: NextStep, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.next_step = next_step
        self.retry_after_s = retry_after_s


class KeyMissing(CallError):
    """The call needs a key that is not configured; ``variable`` names it."""

    next_step = NextStep.CONFIGURE

    def __init__(self, variable: str) -> None:
        super().__init__(f"{variable} is not set")
        self.variable = variable


class UncertainWrite(CallError):
    """A write was sent and its fate is unknown; ``event_id`` finds it if it was stored.

    Of a batch, which is stored whole or not at all, ``event_id`` is the first event's.
    """

    next_step = NextStep.LOOK_FIRST

    def __init__(self, message: str, *, event_id: str | None = None) -> None:
        super().__init__(message)
        self.event_id = event_id


def describe_exception(fault: BaseException) -> str:
    """A fault's type and place for a log; its text may quote what must not stand there."""
    step = fault.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    where = f" at {step.tb_frame.f_code.co_qualname}:{step.tb_lineno}" if step else ""
    return type(fault).__name__ + where
