"""A tool's arguments: parsed, or refused by field, rule and example before anything is sent."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticCustomError

from millimetric_mcp.contract.events import TrackEvent
from millimetric_mcp.contract.validation import check_timestamp_range, is_zone_name, parse_timestamp
from millimetric_mcp.errors import InvalidArguments
from millimetric_mcp.mcp.render import clean
from millimetric_mcp.mcp.tools.faults import COMBINATION, FieldError, find_faults
from millimetric_mcp.mcp.window import resolve_window

ParamsT = TypeVar("ParamsT", bound=BaseModel)

MAX_EVENTS = 100_000
"""Of a batch."""
MAX_FAULTS = 20
MAX_FIELD_CHARS = 80
NOT_AN_OBJECT = "arguments that are no object"
"""Stands among the arguments of a call that came with something else in their place."""

EXAMPLES: Mapping[str, Any] = {
    "anonymous_id": "u_abc",
    "breakdown": "source",
    "compare": "previous_period",
    "country": "DE",
    "event": "signup",
    "event_id": "evt_abc123",
    "events": [{"event": "signup", "user_id": "user_42"}],
    "fields": ["timestamp", "event_name", "url"],
    "fill_empty": True,
    "from": "7d",
    "group_by": ["source", "medium"],
    "interval": "day",
    "limit": 20,
    "medium": "paid",
    "metric": "uniques",
    "path": "/pricing",
    "properties": {"plan": "free"},
    "referrer": "https://l.facebook.com/",
    "session_id": "sess_xyz",
    "source": "facebook",
    "timestamp": "2026-05-16T19:00:00Z",
    "timezone": "Europe/Berlin",
    "to": "now",
    "traits": {"plan": "pro"},
    "url": "https://shop.example/?utm_source=facebook&utm_medium=cpc",
    "user_id": "user_42",
}
"""A right value for every argument of every tool."""


class Arguments(BaseModel):
    """A tool's arguments; an unknown one is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class WindowArguments(Arguments):
    """The window of time a read tool looks at; nothing given is the last 30 days."""

    from_: Annotated[
        str | None,
        Field(
            alias="from",
            description="Start: ISO 8601, a date, 24h, 7d, 4w, 3mo, today, yesterday, this_week, "
            "last_month…; default 30d.",
        ),
    ] = None
    to: Annotated[
        str | None, Field(description="End, exclusive, same forms; default: as from implies.")
    ] = None
    timezone: Annotated[str | None, Field(description="IANA zone of dates and days.")] = None

    @field_validator("limit", mode="before", check_fields=False)
    @classmethod
    def _check_number(cls, value: object) -> object:
        if isinstance(value, bool | str):
            raise PydanticCustomError("int", "must be a whole number")
        return value

    @field_validator("timezone")
    @classmethod
    def _check_zone(cls, value: str | None) -> str | None:
        if value is not None and not is_zone_name(value):
            raise PydanticCustomError("zone", "must be an IANA time zone name")
        return value


SourceName = Annotated[
    str, StringConstraints(strip_whitespace=True, to_lower=True, min_length=1, max_length=2048)
]
"""A source or medium, read as the API stores it."""


def parse_arguments(
    model: type[ParamsT], arguments: Mapping[str, Any], *, now: datetime, timezone: str
) -> ParamsT:
    """The arguments as the tool's model; ``timezone`` counts where they name none.

    Raises:
        InvalidArguments: naming every fault at once.
    """
    if NOT_AN_OBJECT in arguments:
        raise InvalidArguments([f"arguments: must be an object; for example {_show_call(model)}"])
    faults: list[FieldError] = []
    windows: Sequence[str] = ()
    try:
        parsed = model.model_validate(arguments)
    except ValidationError as error:
        faults = find_faults(error)
        if issubclass(model, WindowArguments):
            windows = _find_window_faults(arguments, now=now, timezone=timezone)
        times = _find_time_faults(model, arguments, now=now)
    else:
        times = _find_time_faults(model, vars(parsed), now=now)
    if not (faults or windows or times):
        return parsed
    told = [*windows, *_explain_all(model, faults[:MAX_FAULTS]), *times]
    raise InvalidArguments(told[:MAX_FAULTS] + _count_rest([*windows, *faults, *times]))


def _show_call(model: type[BaseModel]) -> str:
    names = [info.alias or name for name, info in model.model_fields.items() if info.is_required()]
    return json.dumps({name: EXAMPLES[name] for name in names or list_argument_names(model)[:1]})


def _find_window_faults(
    arguments: Mapping[str, Any], *, now: datetime, timezone: str
) -> Sequence[str]:
    """Of values that are text; others are no window at all, which is a fault of its own."""
    given = {
        name: value
        for name in ("from", "to", "timezone")
        if isinstance(value := arguments.get(name), str)
    }
    zone = given.pop("timezone", timezone)
    try:
        resolve_window(given.get("from"), given.get("to"), timezone=zone, now=now)
    except InvalidArguments as error:
        return error.errors
    return ()


def _count_rest(faults: Sequence[object]) -> list[str]:
    rest = len(faults) - MAX_FAULTS
    return [f"and {rest} more"] if rest > 0 else []


def _explain_all(model: type[BaseModel], faults: Sequence[FieldError]) -> list[str]:
    """A sentence for each; the list of valid names is told once for all of a kind."""
    sentences: list[str] = []
    told: set[bool] = set()
    for fault in faults:
        if fault.kind == "extra_forbidden":
            is_inner = "." in fault.field
            sentences.append(_explain_unknown(model, fault.field, with_valid=is_inner not in told))
            told.add(is_inner)
        else:
            sentences.append(_explain(fault))
    return sentences


def _explain(fault: FieldError) -> str:
    example = "" if fault.kind == COMBINATION else _example(fault.field)
    return f"{fault.field or 'arguments'}: {fault.message}{example}"


def _explain_unknown(model: type[BaseModel], field: str, *, with_valid: bool) -> str:
    path, _, name = field.rpartition(".")
    valid = list_argument_names(TrackEvent if path else model)
    nearest = get_close_matches(name.lower(), valid, n=1, cutoff=0.6)
    hints = [f"did you mean {nearest[0]}?"] if nearest else []
    hints += [f"valid: {', '.join(valid)}"] if with_valid else []
    sentence = f"{clean(field, max_chars=MAX_FIELD_CHARS)}: no such argument"
    return f"{sentence}; {' '.join(hints)}" if hints else sentence


def _example(field: str) -> str:
    name = field.rpartition(".")[2].partition("[")[0]
    if name not in EXAMPLES:
        return ""
    return f"; for example {json.dumps(EXAMPLES[name])}"


def choose_names(value: object, *, allowed: Sequence[str], at_least: int = 0) -> object:
    """A list of names, each once; a comma list is taken too.

    Raises:
        ValueError: a name is not allowed, or there are too few, for pydantic to report.
    """
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        return names
    names = [name.strip() if isinstance(name, str) else name for name in names]
    if any(name not in allowed for name in names):
        raise PydanticCustomError(
            "names", "must be a list of names among {allowed}", {"allowed": ", ".join(allowed)}
        )
    if len(names) < at_least:
        raise PydanticCustomError("too_few", "must hold at least {least} name", {"least": at_least})
    return tuple(dict.fromkeys(names))


def list_argument_names(model: type[BaseModel]) -> list[str]:
    """The names a caller may give, in the order of their declaration."""
    return [info.alias or name for name, info in model.model_fields.items()]


def _find_time_faults(
    model: type[BaseModel], given: Mapping[str, Any], *, now: datetime
) -> list[str]:
    """Of events whose time the API would refuse, parsed or not; what is no time is told anyway."""
    return [
        f"{field}: {sentence}{_example(field)}"
        for field, value in _list_times(model, given)
        if (sentence := _judge_time(value, now))
    ]


def _list_times(model: type[BaseModel], given: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """The time of an event, or of each of several, with its field's name."""
    if "timestamp" in model.model_fields:
        yield "timestamp", given.get("timestamp")
    events = given.get("events") if "events" in model.model_fields else None
    several = events[:MAX_EVENTS] if isinstance(events, list | tuple) else ()
    for index, event in enumerate(several):
        fields = event if isinstance(event, dict) else getattr(event, "__dict__", {})
        yield f"events[{index}].timestamp", fields.get("timestamp")


def _judge_time(value: object, now: datetime) -> str | None:
    if value is None:
        return None
    try:
        moment = parse_timestamp(value)
    except ValueError:
        return None
    try:
        check_timestamp_range(moment, now=now)
    except ValueError as error:
        return str(error)
    return None
