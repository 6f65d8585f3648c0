"""What an HTTP response of the API means: a result, or a failure and whether to try again.

Of an unexpected response only its status is kept. Of an error body only the error code, known
field names, a number of seconds and a reference in hex digits are kept, so text from the API never
reaches a model.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from millimetric_mcp.contract import reads
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.columns import NULLABLE_COLUMNS
from millimetric_mcp.contract.endpoints import Endpoint
from millimetric_mcp.contract.events import BatchRequest, TrackEvent
from millimetric_mcp.contract.filters import is_property, split_name
from millimetric_mcp.contract.imports import ImportedEvent, ImportRequest
from millimetric_mcp.contract.validation import list_names
from millimetric_mcp.errors import (
    ApiError,
    CallError,
    NextStep,
    UncertainWrite,
    UnknownExtension,
    UpstreamError,
)

if TYPE_CHECKING:
    import httpx

MAX_RESULT_BYTES = 64 * 1024 * 1024
"""Enough for 1000 events with all fields of the longest length."""
MAX_ERROR_BYTES = 64 * 1024
MAX_NAMED_FIELDS = 20


_EVENTS: Mapping[type[BaseModel], type[BaseModel]] = {
    BatchRequest: TrackEvent,
    ImportRequest: ImportedEvent,
}
"""The events of the requests that hold several."""
_SOURCE_VALUES = ("events", "uniques", "paid_share")
_REFERENCE = re.compile("[0-9a-f]{8}")

ResultT = TypeVar("ResultT", bound=BaseModel)
RowT = TypeVar("RowT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class WriteEffect:
    """What a write may have done if its response is missing, such as "the event may have been
    stored". ``event_id`` helps to look for it."""

    sentence: str
    event_id: str | None = None

    def to_error(self, reason: str, *, next_step: NextStep = NextStep.LOOK_FIRST) -> UncertainWrite:
        """Return the error for a write with an unknown outcome."""
        error = UncertainWrite(f"{reason}; {self.sentence}.", event_id=self.event_id)
        error.next_step = next_step
        return error


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A complete HTTP response. ``body`` is None if it was compressed or too large."""

    status: int
    media_type: str
    retry_after_s: float | None
    body: bytes | None
    is_compressed: bool = False

    @property
    def is_json(self) -> bool:
        """Whether the response says that it is JSON."""
        return self.media_type == "application/json" or self.media_type.endswith("+json")


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt, and whether the same request may be sent again without harm.

    ``unreachable``: no connection could be made, so nothing was sent.
    """

    error: CallError
    repeatable: bool = False
    unreachable: bool = False


async def read_response(response: "httpx.Response") -> ApiResponse:
    """Read a response to its end, or to the largest allowed size."""
    headers = response.headers
    is_compressed = headers.get("content-encoding", "identity").lower() != "identity"
    max_bytes = MAX_RESULT_BYTES if response.is_success else MAX_ERROR_BYTES
    body = bytearray()
    if not is_compressed:
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > max_bytes:
                break
    return ApiResponse(
        status=response.status_code,
        media_type=headers.get("content-type", "").partition(";")[0].strip().lower(),
        retry_after_s=_parse_retry_after(headers.get("retry-after"), date=headers.get("date")),
        body=None if is_compressed or len(body) > max_bytes else bytes(body),
        is_compressed=is_compressed,
    )


def _parse_retry_after(value: str | None, *, date: str | None) -> float | None:
    """Return the seconds to wait. An HTTP date is compared with the response's own ``date``."""
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


def no_response(reason: str, effect: WriteEffect | None) -> Failure:
    """Return the failure of a request without a response. Only reads are repeated."""
    if effect is not None:
        return Failure(effect.to_error(reason))
    return Failure(UpstreamError(f"{reason}.", next_step=NextStep.WAIT), repeatable=True)


def read_result(
    endpoint: Endpoint[Any, ResultT], response: ApiResponse, effect: WriteEffect | None
) -> ResultT | Failure:
    """Return the endpoint's result, or the failure. ``effect`` is None for reads."""
    if 200 <= response.status < 300:
        return _parse_result(endpoint, response, effect)
    if 300 <= response.status < 400:
        return Failure(
            UpstreamError(
                f"The API answered with a redirect (HTTP {response.status}), which is not "
                "followed: the URL in MILLIMETRIC_HOST is probably wrong.",
                next_step=NextStep.CONFIGURE,
            )
        )
    return _read_failure(endpoint, response, effect)


def _parse_result(
    endpoint: Endpoint[Any, ResultT], response: ApiResponse, effect: WriteEffect | None
) -> ResultT | Failure:
    next_step = NextStep.CONFIGURE
    if not response.is_json:
        problem = "is not JSON: the URL in MILLIMETRIC_HOST is probably wrong"
    elif response.is_compressed:
        problem = "is compressed, but no compression was asked for: check any proxy before the API"
    elif response.body is None:
        problem, next_step = "is too large", NextStep.FIX_ARGUMENTS
    else:
        try:
            return endpoint.result.model_validate_json(response.body)
        except ValidationError as error:
            problem = "is JSON of another shape: MILLIMETRIC_HOST seems to name another service"
            if error.errors(include_input=False, include_url=False)[0]["type"] == "json_invalid":
                problem, next_step = "is broken JSON", NextStep.WAIT
    reason = f"The API's response (HTTP {response.status}) {problem}"
    if effect is None:
        return Failure(UpstreamError(f"{reason}.", next_step=next_step))
    unknown_step = NextStep.LOOK_FIRST if response.is_json else NextStep.CONFIGURE
    return Failure(effect.to_error(reason, next_step=unknown_step))


def check_sources(result: reads.SourcesResult, params: reads.SourcesParams) -> reads.SourcesResult:
    """Return ``result`` if it answers ``params``.

    Raises:
        UpstreamError: it answers another question.
    """
    _check_echo("breakdown", result.breakdown, params.breakdown)
    by_medium = params.breakdown is reads.Breakdown.SOURCE_MEDIUM
    columns = ["source", "medium"] if by_medium else ["source"]
    return result.model_copy(update={"rows": _keep_columns(result.rows, columns, _SOURCE_VALUES)})


def check_stats(result: reads.StatsResult, params: reads.StatsParams) -> reads.StatsResult:
    """Return ``result`` if it answers ``params``.

    Raises:
        UpstreamError: it answers another question.
    """
    _check_echo("metric", result.metric, params.metric)
    columns = [*(["bucket"] if params.interval else []), *params.group_by]
    return result.model_copy(update={"rows": _keep_columns(result.rows, columns, ["value"])})


def check_applied(result: BaseModel, extensions: Mapping[str, Any] | None, *, api_url: str) -> None:
    """Raise if a result does not echo the extensions that its question used.

    An API without extensions ignores them, so its numbers would answer another question.

    Raises:
        UnknownExtension: it does not.
    """
    applied = getattr(result, "applied", None)
    if extensions is None or applied == extensions:
        return
    echoed = applied or {}
    raise UnknownExtension(
        sorted(name for name, value in extensions.items() if echoed.get(name) != value),
        api_url=api_url,
    )


def _check_echo(name: str, echoed: object, asked: object) -> None:
    if echoed is not asked:
        raise _other_question(name)


def _keep_columns(
    rows: Sequence[RowT], columns: Sequence[str], values: Sequence[str]
) -> list[RowT]:
    """Return rows with ``columns`` and ``values`` only; each group must occur once."""
    groups = {tuple(getattr(row, name, None) for name in columns) for row in rows}
    is_missing = any(
        getattr(row, name, None) is None
        and not (name in row.model_fields_set and _is_nullable(name))
        for row in rows
        for name in columns
    )
    if is_missing or len(groups) < len(rows):
        raise _other_question("set of columns")
    kept = {*columns, *values}
    return [
        row
        if row.model_fields_set == kept
        else row.model_construct(**{name: getattr(row, name) for name in kept})
        for row in rows
    ]


def _is_nullable(name: str) -> bool:
    return name in NULLABLE_COLUMNS or is_property(name)


def _other_question(what: str) -> UpstreamError:
    return UpstreamError(
        f"The API's response has another {what} than asked for: MILLIMETRIC_HOST seems to name "
        "another service or version.",
        next_step=NextStep.CONFIGURE,
    )


def _read_failure(
    endpoint: Endpoint[Any, Any], response: ApiResponse, effect: WriteEffect | None
) -> Failure:
    """Return the failure of an error status. 503 and ``forget_failed`` mean: nothing was stored."""
    status, body = response.status, _read_error(response)
    code = body.error if body else None
    wait_s = body.wait_s if body and response.retry_after_s is None else response.retry_after_s
    is_refused = status < 500 or status == 503 or code is ErrorCode.FORGET_FAILED
    if effect is not None and not is_refused:
        return Failure(effect.to_error(f"The API failed (HTTP {status})"))
    error: CallError
    if body:
        known = (_known_field(endpoint.request, name) for name in body.fields)
        fields = list(dict.fromkeys(name for name in known if name))[:MAX_NAMED_FIELDS]
        error = ApiError(
            body.error,
            status=status,
            fields=fields,
            retry_after_s=wait_s,
            reference=body.known_reference,
        )
    else:
        next_step = _next_step(status)
        advice = "; check MILLIMETRIC_HOST, and any proxy before it"
        error = UpstreamError(
            f"The API answered HTTP {status} without a known error code"
            f"{advice if next_step is NextStep.CONFIGURE else ''}.",
            next_step=next_step,
            retry_after_s=wait_s,
            status=status,
        )
    return Failure(error, repeatable=status in {429, 503} or (effect is None and status >= 500))


def _next_step(status: int) -> NextStep:
    if status in {400, 413, 414, 422, 431}:
        return NextStep.FIX_ARGUMENTS
    return NextStep.WAIT if status >= 500 or status in {408, 425, 429} else NextStep.CONFIGURE


class _ErrorBody(BaseModel):
    """The parts of an error body that are read; only ``error`` is checked here."""

    error: ErrorCode
    details: Any = None
    retry_after_s: Any = None
    reference: Any = None

    @property
    def known_reference(self) -> str | None:
        reference = self.reference
        is_known = isinstance(reference, str) and _REFERENCE.fullmatch(reference)
        return reference if is_known else None

    @property
    def fields(self) -> list[str]:
        fields = self.details.get("fieldErrors") if isinstance(self.details, dict) else None
        return list(fields)[:1000] if isinstance(fields, dict) else []

    @property
    def wait_s(self) -> float | None:
        wait_s = self.retry_after_s
        is_wait = isinstance(wait_s, int | float) and 0 <= wait_s < 1e9
        return float(wait_s) if is_wait else None


def _read_error(response: ApiResponse) -> _ErrorBody | None:
    """Return the body of an error, or None if it is not one of the API's."""
    try:
        return _ErrorBody.model_validate_json(response.body or b"") if response.is_json else None
    except ValidationError:
        return None


def _known_field(model: type[BaseModel], name: str) -> str | None:
    """Return the part of a field's name that ``model`` knows: ``from``, ``events[3].url``."""
    parts: list[str] = re.findall(r"[^.\[\]]+", name[:200])
    head, *rest = parts or [""]
    if "filters" in model.model_fields and split_name(name):
        return name[:200]
    if head not in list_names(model):
        return None
    if model not in _EVENTS or not rest or not re.fullmatch(r"\d{1,4}", rest[0], re.ASCII):
        return head
    inner = _known_field(_EVENTS[model], rest[1]) if rest[1:] else None
    return f"{head}[{rest[0]}]" + (f".{inner}" if inner else "")
