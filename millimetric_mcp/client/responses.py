"""What an answer of the API means to its caller: a result, or a failure and its next_step.

Of an answer that is not the contract's nothing is kept but its status; of an error body only
codes, field names our own models know, and a number of seconds. So no stranger's text
travels on. The functions are pure; reading bytes from the network is the client's.
"""

import json
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.columns import NULLABLE_COLUMNS
from millimetric_mcp.contract.endpoints import Endpoint
from millimetric_mcp.contract.events import BatchRequest, TrackEvent
from millimetric_mcp.contract.reads import (
    Breakdown,
    SourcesParams,
    SourcesResult,
    StatsParams,
    StatsResult,
    StatsRow,
)
from millimetric_mcp.errors import ApiError, CallError, NextStep, UncertainWrite, UpstreamError

__all__ = [
    "MAX_ERROR_BYTES",
    "MAX_RESULT_BYTES",
    "Answer",
    "Failure",
    "Write",
    "check_sources",
    "check_stats",
    "interpret",
    "parse_retry_after",
    "suspect",
]

MAX_RESULT_BYTES = 64 * 1024 * 1024
"""Room for 1000 events whose every field is as long as it may be."""
MAX_ERROR_BYTES = 64 * 1024
MAX_NAMED_FIELDS = 20

ResultT = TypeVar("ResultT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Write:
    """What can be said of a write whose answer never came."""

    fate: str
    event_id: str | None = None

    def doubt(self, reason: str, *, next_step: NextStep = NextStep.LOOK_FIRST) -> UncertainWrite:
        error = UncertainWrite(f"{reason}; {self.fate}.", event_id=self.event_id)
        error.next_step = next_step
        return error


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer read whole; ``body`` is None where it was compressed, or else too large."""

    status: int
    media_type: str
    retry_after_s: float | None
    body: bytes | None
    is_compressed: bool = False

    @property
    def is_json(self) -> bool:
        return self.media_type == "application/json" or self.media_type.endswith("+json")


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt, and whether the same request may be sent again without harm."""

    error: CallError
    repeatable: bool = False


def parse_retry_after(value: str | None, *, date: str | None) -> float | None:
    """Seconds to wait, from seconds or from an HTTP date measured by the API's own clock."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}\s*", value, re.ASCII):
        return float(value)
    until_s = _unix_s(value)
    now_s = _unix_s(date) or time.time()
    return None if until_s is None else max(until_s - now_s, 0.0)


def _unix_s(http_date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(http_date or "").timestamp()
    except (ValueError, OverflowError):
        return None


def suspect(reason: str, write: Write | None) -> Failure:
    """A failure without an answer: a read may be repeated, a write is in doubt."""
    if write is not None:
        return Failure(write.doubt(reason))
    return Failure(UpstreamError(f"{reason}.", next_step=NextStep.WAIT), repeatable=True)


def interpret(
    endpoint: Endpoint[Any, ResultT], answer: Answer, write: Write | None
) -> ResultT | Failure:
    """The endpoint's result, or what the answer means instead; ``write`` is None for reads."""
    if 200 <= answer.status < 300:
        return _parse_result(endpoint, answer, write)
    if 300 <= answer.status < 400:
        return Failure(
            UpstreamError(
                f"The API answered with a redirect (HTTP {answer.status}), which is not followed: "
                "the URL in MILLIMETRIC_HOST is probably wrong.",
                next_step=NextStep.CONFIGURE,
            )
        )
    return _explain_status(endpoint, answer, write)


def _parse_result(
    endpoint: Endpoint[Any, ResultT], answer: Answer, write: Write | None
) -> ResultT | Failure:
    next_step = NextStep.CONFIGURE
    if not answer.is_json:
        fault = "is not JSON: the URL in MILLIMETRIC_HOST is probably wrong"
    elif answer.is_compressed:
        fault = "is compressed, which was not asked for: look at any proxy before it"
    elif answer.body is None:
        fault, next_step = "is too large", NextStep.FIX_ARGUMENTS
    else:
        try:
            return endpoint.result.model_validate_json(answer.body)
        except ValidationError as error:
            fault = "is JSON of another shape: MILLIMETRIC_HOST seems to name another service"
            if error.errors(include_input=False, include_url=False)[0]["type"] == "json_invalid":
                fault, next_step = "is broken JSON", NextStep.WAIT
    reason = f"The API's answer (HTTP {answer.status}) {fault}"
    if write is None:
        return Failure(UpstreamError(f"{reason}.", next_step=next_step))
    unknown_step = NextStep.LOOK_FIRST if answer.is_json else NextStep.CONFIGURE
    return Failure(write.doubt(reason, next_step=unknown_step))


def check_sources(result: SourcesResult, params: SourcesParams) -> SourcesResult:
    """``result`` unchanged where it answers ``params``: each source (and medium) once.

    Raises:
        UpstreamError: it answers another question, and would be told under a wrong name.
    """
    has_media = params.breakdown is Breakdown.SOURCE_MEDIUM
    if result.breakdown is not params.breakdown:
        raise _other_question("breakdown")
    if any((row.medium is not None) is not has_media for row in result.rows):
        raise _other_question("set of columns")
    if len({(row.source, row.medium) for row in result.rows}) < len(result.rows):
        raise _other_question("set of columns")
    return result


def check_stats(result: StatsResult, params: StatsParams) -> StatsResult:
    """``result`` where it answers ``params``: each group once, without columns not asked for.

    Raises:
        UpstreamError: it answers another question, and would be told under a wrong name.
    """
    if result.metric is not params.metric:
        raise _other_question("metric")
    asked = [*(["bucket"] if params.interval else []), *(col.value for col in params.group_by)]
    if any(not _list_columns(row).issuperset(asked) for row in result.rows):
        raise _other_question("set of columns")
    groups = {tuple(getattr(row, name) for name in asked) for row in result.rows}
    if len(groups) < len(result.rows):
        raise _other_question("set of columns")
    kept = {*asked, "value"}
    rows = [row if row.model_fields_set == kept else _keep(row, kept) for row in result.rows]
    return result.model_copy(update={"rows": rows})


def _keep(row: StatsRow, names: Collection[str]) -> StatsRow:
    return StatsRow.model_construct(**{name: getattr(row, name) for name in names})


def _list_columns(row: StatsRow) -> set[str]:
    """The columns a row has; null is a value of those only that may be null."""
    return {
        name
        for name in row.model_fields_set
        if name in NULLABLE_COLUMNS or getattr(row, name) is not None
    }


def _other_question(what: str) -> UpstreamError:
    return UpstreamError(
        f"The API's answer has another {what} than asked for: MILLIMETRIC_HOST seems to name "
        "another service or version.",
        next_step=NextStep.CONFIGURE,
    )


def _explain_status(endpoint: Endpoint[Any, Any], answer: Answer, write: Write | None) -> Failure:
    """The failure an error status means; 503 and ``forget_failed`` say nothing was stored."""
    status = answer.status
    body = _read_error(answer)
    wait_s = body.retry_after_s if answer.retry_after_s is None else answer.retry_after_s
    refused = status < 500 or status == 503 or body.code is ErrorCode.FORGET_FAILED
    if write is not None and not refused:
        return Failure(write.doubt(f"The API failed (HTTP {status})"))
    repeatable = status in {429, 503} or (write is None and status >= 500)
    error: CallError
    if body.code is not None:
        fields = _known_fields(endpoint, body.fields)
        error = ApiError(body.code, status=status, fields=fields, retry_after_s=wait_s)
    else:
        next_step = _next_step(status)
        way = "; check MILLIMETRIC_HOST, and any proxy before it" * (
            next_step is NextStep.CONFIGURE
        )
        error = UpstreamError(
            f"The API answered HTTP {status} without an error code of the contract{way}.",
            next_step=next_step,
            retry_after_s=wait_s,
        )
    return Failure(error, repeatable=repeatable)


def _next_step(status: int) -> NextStep:
    if status in {400, 413, 414, 422, 431}:
        return NextStep.FIX_ARGUMENTS
    return NextStep.WAIT if status >= 500 or status in {408, 425, 429} else NextStep.CONFIGURE


@dataclass(frozen=True, slots=True)
class _ErrorBody:
    """What an error body says in the contract's words; ``fields`` are still unchecked."""

    code: ErrorCode | None = None
    fields: tuple[str, ...] = ()
    retry_after_s: float | None = None


def _read_error(answer: Answer) -> _ErrorBody:
    try:
        body = json.loads(answer.body or b"") if answer.is_json else {}
        code = ErrorCode(body["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return _ErrorBody()
    details = body.get("details")
    fields = details.get("fieldErrors") if isinstance(details, dict) else None
    wait_s = body.get("retry_after_s")
    return _ErrorBody(
        code,
        fields=tuple(fields) if isinstance(fields, dict) else (),
        retry_after_s=float(wait_s)
        if isinstance(wait_s, int | float) and 0 <= wait_s < 1e9
        else None,
    )


def _known_fields(endpoint: Endpoint[Any, Any], names: Sequence[str]) -> tuple[str, ...]:
    known = (_known_field(endpoint.request, name) for name in names[:1000])
    return tuple(dict.fromkeys(field for field in known if field))[:MAX_NAMED_FIELDS]


def _known_field(model: type[BaseModel], name: str) -> str | None:
    """The part of a field's name that our models know: ``from``, ``events[3].url``."""
    parts: list[str] = re.findall(r"[^.\[\]]+", name[:200])
    head, *rest = parts or [""]
    if head not in {field.alias or own_name for own_name, field in model.model_fields.items()}:
        return None
    if model is not BatchRequest or not rest or not re.fullmatch(r"\d{1,3}", rest[0], re.ASCII):
        return head
    inner = _known_field(TrackEvent, rest[1]) if rest[1:] else None
    return f"{head}[{rest[0]}]" + (f".{inner}" if inner else "")
