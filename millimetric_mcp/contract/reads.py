"""The read requests and their results: questions about the events of a window of time."""

import json
import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from millimetric_mcp.contract.attribution import AttributionModel
from millimetric_mcp.contract.columns import SHOWN_COLUMNS, StoredEvent
from millimetric_mcp.contract.events import EventName, ResponseBody, Result, Timestamp
from millimetric_mcp.contract.filters import (
    FILTERS,
    MAX_KEY_CHARS,
    Filters,
    is_property,
    split_name,
)
from millimetric_mcp.contract.validation import find_zone, list_names

MAX_SOURCES_LIMIT = 200
MAX_STATS_LIMIT = 1000
MAX_QUERY_LIMIT = 1000
MAX_FUNNEL_STEPS = 10
RETENTION_INTERVALS = 13
"""The interval of the first event, and twelve after it."""


class Breakdown(StrEnum):
    """Whether each medium of a source has its own row."""

    SOURCE_MEDIUM = "source_medium"
    SOURCE = "source"


class Metric(StrEnum):
    """What is counted, or computed from the numbers of one property."""

    COUNT = "count"
    UNIQUES = "uniques"
    SESSIONS = "sessions"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"
    MEDIAN = "median"
    P95 = "p95"


PROPERTY_METRICS = frozenset(Metric) - {Metric.COUNT, Metric.UNIQUES, Metric.SESSIONS}
"""The metrics that need ``property``."""


class GroupColumn(StrEnum):
    """A column that stats can be grouped by, beside ``properties.KEY``."""

    SOURCE = "source"
    MEDIUM = "medium"
    CAMPAIGN = "campaign"
    COUNTRY = "country"
    DEVICE_TYPE = "device_type"
    BROWSER = "browser"
    OS = "os"
    PATH = "path"
    EVENT_NAME = "event_name"
    CHANNEL = "channel"
    KEY_KIND = "key_kind"
    HOST = "host"
    LANDING_PATH = "landing_path"
    SOURCE_RULE_ID = "source_rule_id"
    SOURCE_CONFIDENCE = "source_confidence"
    PAID_PROOF = "paid_proof"
    USER_ID = "user_id"
    HOUR_OF_DAY = "hour_of_day"
    WEEKDAY = "weekday"


HOSTED_GROUP_COLUMNS = frozenset(list(GroupColumn)[:9])
"""The columns that the hosted API groups by too."""


class PaidProof(StrEnum):
    """What shows that an event was paid for: its utm_medium, or no more than an ad's click id or
    redirect, which Facebook adds to unpaid links too. Empty: it was not.
    """

    UTM_MEDIUM = "utm_medium"
    CLICK_ID = "click_id"
    NOT_PAID = ""


class Interval(StrEnum):
    """The width of a bucket; weeks start on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Bots(StrEnum):
    """What to do with the events that automated clients sent."""

    INCLUDE = "include"
    EXCLUDE = "exclude"
    ONLY = "only"


class Order(StrEnum):
    """The order of single events."""

    NEWEST = "newest"
    OLDEST = "oldest"


def _split_columns(value: object) -> object:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        return names
    is_blank = isinstance(value, str) and not value.strip(" ,")
    names = [name.strip() if isinstance(name, str) else name for name in names]
    names = [str(name) for name in names if name != ""]
    properties = {name for name in names if is_property(name)}
    if is_blank or len(properties) > 1 or not properties.union(GroupColumn).issuperset(names):
        raise PydanticCustomError(
            "group_by",
            "must be a comma list of {allowed}, or at most one properties.KEY",
            {"allowed": ", ".join(GroupColumn)},
        )
    return tuple(dict.fromkeys(names))


LOCAL_COLUMNS = frozenset({GroupColumn.HOUR_OF_DAY, GroupColumn.WEEKDAY})
"""What a clock on the wall shows."""

_COLUMN = rf"({'|'.join(GroupColumn)}|properties\.[^,]{{1,{MAX_KEY_CHARS}}})"
GroupBy = Annotated[
    tuple[str, ...],
    BeforeValidator(_split_columns),
    WithJsonSchema({"type": "string", "pattern": f"^{_COLUMN}(,{_COLUMN})*$"}),
]
"""Columns to group by, each once, in the order asked; read from a comma list."""


def _read_digits(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch("[0-9]{1,9}", value):
        raise PydanticCustomError("int", "must be a whole number in decimal digits")
    return value


Limit = Annotated[int, BeforeValidator(_read_digits)]
PropertyKey = Annotated[str, Field(min_length=1, max_length=MAX_KEY_CHARS)]
"""A key of ``properties``; dots lead into nested objects."""


def _check_zone(name: str) -> str:
    if find_zone(name) is None:
        raise PydanticCustomError("timezone", "must be an IANA time zone, such as Europe/Berlin")
    return name


TimezoneName = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_check_zone)]
Cursor = Annotated[str, Field(pattern=r"^[0-9]{1,15}\.[0-9]{1,18}\.[0-9]{1,20}\.[0-9]{1,9}$")]
"""A place among single events: the ``next`` of an answer."""

_CURSOR = "1778958000000.1778958000123456.1234567890123456789.1"
_FILTERS = (
    "Filters by name: "
    + ", ".join(FILTERS)
    + ", properties.KEY. Each also with [not], [prefix] or [contains]; properties also with "
    "[exists], [gt], [gte], [lt] or [lte]. Repeated: any of the values."
)
_GROUP_BY = f"Columns to group by, a comma list of {', '.join(GroupColumn)}, properties.KEY."


class WindowParams(BaseModel):
    """A window of time: ``from`` inclusive, ``to`` exclusive. Other parameters are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, validate_by_name=True, defer_build=True)

    from_: Annotated[Timestamp, Field(alias="from", description="Start, inclusive; ISO 8601.")]
    to: Annotated[Timestamp, Field(description="End, exclusive; ISO 8601.")]

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.from_ > self.to:
            raise PydanticCustomError("window", "from must not be after to")
        return self


def _move_to_filters(values: Mapping[str, Any], names: Collection[str]) -> Mapping[str, Any]:
    """Return ``values`` with those of ``names`` moved into ``filters``."""
    filters = values.get("filters")
    rest = {name: value for name, value in values.items() if name not in names}
    if filters is None:
        rest.pop("filters", None)
    if names and isinstance(filters, Mapping | None):
        rest["filters"] = {**(filters or {}), **{name: values[name] for name in names}}
    return rest


class FilteredParams(WindowParams):
    """A question about the events of a window that match all filters."""

    filters: Filters = Field(
        {}, description=_FILTERS, examples=[{"country": "DE", "path[prefix]": "/blog"}]
    )
    bots: Bots = Field(
        Bots.INCLUDE, description="Events that automated clients sent.", examples=["exclude"]
    )

    @model_validator(mode="before")
    @classmethod
    def _gather_filters(cls, values: Any) -> Any:  # noqa: ANN401
        """Move filters that are given by their names into ``filters``."""
        if not isinstance(values, Mapping):
            return values
        fields = list_names(cls)
        return _move_to_filters(
            values,
            [
                name
                for name, value in values.items()
                if name not in fields and split_name(name) and value is not None
            ],
        )


class AttributedParams(FilteredParams):
    """A question that can count events for the touch that brought their person."""

    attribution: AttributionModel = Field(
        AttributionModel.EVENT,
        description="Which touch an event counts for.",
        examples=["last_touch"],
    )
    lookback_days: Limit = Field(
        30,
        ge=1,
        le=365,
        description="How old a touch may be. Needs an attribution.",
        examples=[30],
    )

    @field_validator("group_by", check_fields=False)
    @classmethod
    def _check_proof(cls, columns: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        is_own = info.data.get("attribution") is AttributionModel.EVENT
        if GroupColumn.PAID_PROOF in columns and not is_own:
            raise PydanticCustomError("group_by", "paid_proof goes with attribution=event")
        return columns


class SourcesParams(AttributedParams):
    """Events and visitors by source."""

    breakdown: Breakdown = Field(Breakdown.SOURCE_MEDIUM, description="What each row stands for.")
    limit: Limit = Field(50, ge=1, le=MAX_SOURCES_LIMIT, description="Most rows to answer with.")


def check_property(key: str | None, metric: Metric | None) -> None:
    """Raise unless ``key`` is given for the metrics that need one, and for no other."""
    if metric is not None and (metric in PROPERTY_METRICS) != (key is not None):
        metrics = ", ".join(metric for metric in Metric if metric in PROPERTY_METRICS)
        raise PydanticCustomError(
            "property",
            "goes with one of the metrics {metrics}, which need it",
            {"metrics": metrics},
        )


class StatsParams(AttributedParams):
    """One metric, by columns and buckets of time."""

    metric: Metric = Field(Metric.COUNT, description="What is counted.")
    property_: PropertyKey | None = Field(
        None,
        validate_default=True,
        alias="property",
        description="The property whose numbers the metric is about.",
        examples=["amount"],
    )
    group_by: GroupBy = Field((), description=_GROUP_BY)
    interval: Interval | None = Field(None, description="Width of a bucket; absent: one bucket.")
    timezone: TimezoneName | None = Field(
        None,
        description="IANA zone of buckets, hours and weekdays; absent: the project's, else UTC.",
        examples=["Europe/Berlin"],
    )
    limit: Limit = Field(100, ge=1, le=MAX_STATS_LIMIT, description="Most rows to answer with.")

    @field_validator("property_")
    @classmethod
    def _check_property(cls, key: str | None, info: ValidationInfo) -> str | None:
        check_property(key, info.data.get("metric"))
        return key


class QueryParams(FilteredParams):
    """Single events, newest first."""

    order: Order | None = Field(
        None, description="Which events come first; absent: newest.", examples=["oldest"]
    )
    before: Cursor | None = Field(
        None, description="Only events before this cursor, newest first.", examples=[_CURSOR]
    )
    after: Cursor | None = Field(
        None, description="Only events after this cursor, oldest first.", examples=[_CURSOR]
    )
    limit: Limit = Field(100, ge=1, le=MAX_QUERY_LIMIT, description="Most rows to answer with.")

    @model_validator(mode="before")
    @classmethod
    def _imply_order(cls, values: Any) -> Any:  # noqa: ANN401
        if isinstance(values, Mapping) and values.get("after") and "order" not in values:
            return {**values, "order": Order.OLDEST}
        return values

    @field_validator("before", "after")
    @classmethod
    def _check_cursor(cls, cursor: str | None, info: ValidationInfo) -> str | None:
        way = Order.NEWEST if info.field_name == "before" else Order.OLDEST
        if cursor and (info.data.get("order", way) or Order.NEWEST) is not way:
            raise PydanticCustomError(
                "cursor", "goes with order={way}, without another cursor", {"way": way.value}
            )
        return cursor


class FunnelStep(BaseModel):
    """One step: an event's name, and filters by their names, such as ``properties.plan``."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    event: EventName
    filters: Filters = {}

    @model_validator(mode="before")
    @classmethod
    def _gather_filters(cls, values: Any) -> Any:  # noqa: ANN401
        if not isinstance(values, Mapping):
            return values
        return _move_to_filters(values, [name for name in values if name not in cls.model_fields])


def _parse_steps(value: object) -> object:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise PydanticCustomError(
                "steps", 'must be JSON, such as [{"event":"signup"},{"event":"purchase"}]'
            ) from None
    return value


def _write_steps(steps: tuple[FunnelStep, ...]) -> str:
    return json.dumps([{"event": step.event, **step.filters} for step in steps])


Steps = Annotated[
    tuple[FunnelStep, ...],
    Field(min_length=2, max_length=MAX_FUNNEL_STEPS),
    BeforeValidator(_parse_steps),
    PlainSerializer(_write_steps, when_used="json"),
    WithJsonSchema({"type": "string", "contentMediaType": "application/json"}),
]

_DURATION = (
    "^(?:[1-9]|[1-8][0-9]|90)d$"
    "|^(?:[1-9][0-9]{0,2}|1[0-9]{3}|20[0-9]{2}|21[0-5][0-9]|2160)h$"
    "|^(?:[1-9][0-9]{0,4}|1[01][0-9]{4}|12[0-8][0-9]{3}|129[0-5][0-9]{2}|129600)m$"
)
"""A minute to 90 days."""
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def _check_duration(text: str) -> str:
    if not re.fullmatch(_DURATION, text):
        raise PydanticCustomError("duration", "must be 1m to 90d, such as 30m, 12h or 7d")
    return text


def read_duration(text: str) -> timedelta:
    """Return a valid duration such as ``7d``."""
    return int(text[:-1]) * _UNITS[text[-1]]


Duration = Annotated[
    str, AfterValidator(_check_duration), WithJsonSchema({"type": "string", "pattern": _DURATION})
]


def check_one_column(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``columns``; raise if there are several."""
    if len(columns) > 1:
        raise PydanticCustomError("group_by", "must name one column")
    return columns


class FunnelParams(AttributedParams):
    """How many people took the steps, in their order."""

    steps: Steps = Field(description='JSON list of 2 to 10 {"event": name, filters}.')
    within: Duration = Field("7d", description="Time from the first step to the last: 1m to 90d.")
    group_by: Annotated[GroupBy, AfterValidator(check_one_column)] = Field(
        (), description="One column of the first step's event."
    )
    limit: Limit = Field(50, ge=1, le=MAX_SOURCES_LIMIT, description="Most groups to answer with.")


_COHORTS = ("day", "week", "month")


def _check_cohort(value: object) -> object:
    if value not in _COHORTS:
        raise PydanticCustomError("interval", "must be day, week or month")
    return value


class RetentionParams(FilteredParams):
    """How many people came back, by when they came first."""

    event: EventName = Field(description="The event that begins: a person's first in the window.")
    return_: EventName | None = Field(
        None, alias="return", description="The event that counts as coming back; absent: the same."
    )
    interval: Annotated[
        Interval,
        BeforeValidator(_check_cohort),
        WithJsonSchema({"type": "string", "enum": list(_COHORTS)}),
    ] = Field(Interval.WEEK, description="Width of a cohort.")
    timezone: TimezoneName | None = Field(
        None, description="IANA zone in which days begin; absent: the project's, else UTC."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_return(cls, values: Any) -> Any:  # noqa: ANN401
        if isinstance(values, Mapping) and not (values.get("return") or values.get("return_")):
            return {**values, "return": values.get("event")}
        return values


class SchemaParams(WindowParams):
    """What the events of a window are made of."""

    bots: Bots = Field(
        Bots.INCLUDE, description="Events that automated clients sent.", examples=["exclude"]
    )


OptionalColumn = Annotated[str | None, WithJsonSchema({"type": "string"})]
"""A column that is absent unless it was asked for, and never null."""


class SourceRow(ResponseBody):
    """One source (and medium): events, visitors, and the share of paid events, 0 to 1."""

    source: str
    medium: OptionalColumn = None
    events: Annotated[int, Field(ge=0)]
    uniques: Annotated[int, Field(ge=0)]
    paid_share: Annotated[float, Field(ge=0, le=1)]


def lacks_zone(params: WindowParams) -> bool:
    """Return whether the answer depends on a time zone, and the question names none."""
    if isinstance(params, StatsParams):
        is_local = bool(params.interval) or not LOCAL_COLUMNS.isdisjoint(params.group_by)
        return is_local and params.timezone is None
    return isinstance(params, RetentionParams) and params.timezone is None


Number = int | float


class ReadResult(Result):
    """What read results share.

    ``applied`` echoes the parameters beyond the hosted API's, as they were understood.
    ``project_timezone`` is the project's own zone, if it counted because the question named none.
    ``bots_left_out`` counts the events of automated clients that ``bots=exclude`` left out; it is
    absent with another ``bots``. ``notes`` say what a person has to check; they are absent without
    any.
    """

    notes: Annotated[
        list[str] | None, WithJsonSchema({"type": "array", "items": {"type": "string"}})
    ] = None

    applied: dict[str, Any] | None = None
    project_timezone: Annotated[str | None, WithJsonSchema({"type": "string"})] = None
    bots_left_out: Annotated[int | None, WithJsonSchema({"type": "integer", "minimum": 0})] = None


class AttributedResult(ReadResult):
    """``no_touch_share``: of the counted events, the share without a touch, 0 to 1."""

    no_touch_share: Annotated[float, Field(ge=0, le=1)] | None = None


class SourcesResult(AttributedResult):
    """Rows by events, most first."""

    breakdown: Breakdown
    rows: list[SourceRow]


class StatsRow(ResponseBody):
    """One group in one bucket; it has only the columns that were asked for.

    ``value`` is null if no event of the group has a number to compute with. A property's column is
    named ``properties.KEY``.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Any]

    bucket: OptionalColumn = None
    source: OptionalColumn = None
    medium: OptionalColumn = None
    campaign: str | None = None
    country: OptionalColumn = None
    device_type: OptionalColumn = None
    browser: OptionalColumn = None
    os: OptionalColumn = None
    path: str | None = None
    event_name: OptionalColumn = None
    channel: OptionalColumn = None
    key_kind: OptionalColumn = None
    host: OptionalColumn = None
    landing_path: OptionalColumn = None
    source_rule_id: OptionalColumn = None
    source_confidence: OptionalColumn = None
    paid_proof: PaidProof | None = None
    user_id: str | None = None
    hour_of_day: Annotated[int | None, Field(ge=0, le=23)] = None
    weekday: Annotated[int | None, Field(ge=1, le=7, description="1 is Monday.")] = None
    value: Number | None = None


class StatsResult(AttributedResult):
    """Rows by bucket, then value descending, then the columns.

    ``truncated`` is there, and true, if ``limit`` left rows out. ``skipped`` counts events whose
    property is absent or no number.
    """

    metric: Metric
    rows: list[StatsRow]
    skipped: Annotated[int, Field(ge=0)] | None = None
    truncated: Annotated[bool | None, WithJsonSchema({"const": True})] = None


class FunnelRow(ResponseBody):
    """One step, of one group if grouped.

    ``people`` took this step after all before it. ``from_first`` and ``from_previous`` are their
    shares of the first and of the previous step's people; null if that has none. ``median_s`` is
    the median of seconds since the previous step.
    """

    group: str | None = None
    step: Annotated[int, Field(ge=1)]
    event: str
    people: Annotated[int, Field(ge=0)]
    from_first: Annotated[float, Field(ge=0, le=1)] | None = None
    from_previous: Annotated[float, Field(ge=0, le=1)] | None = None
    median_s: Annotated[float, Field(ge=0)] | None = None


class FunnelResult(AttributedResult):
    """Rows by step; of several groups, the group with most people first."""

    within: str
    rows: list[FunnelRow]
    truncated: Annotated[bool | None, WithJsonSchema({"const": True})] = None


class RetentionRow(ResponseBody):
    """The people whose first event lies in one interval.

    ``returned`` counts those who came back in that interval, in the next one, and so on, up to the
    interval in which the window ends. ``is_running``: the last of them is not over.
    """

    cohort: str
    people: Annotated[int, Field(ge=0)]
    returned: list[int]
    is_running: bool


class RetentionResult(ReadResult):
    """Rows by cohort, oldest first."""

    event: str
    return_: str = Field(alias="return")
    interval: Interval
    rows: list[RetentionRow]


class PropertyDescription(ResponseBody):
    """A key of an event's properties: its JSON types, the share of events that have it, values."""

    key: str
    types: list[str]
    share: Annotated[float, Field(ge=0, le=1)]
    top_values: list[str]


class SchemaRow(ResponseBody):
    """An event's name: how often, first and last seen in the window, and its properties.

    ``properties`` are those that most events have; ``properties_left_out`` counts the others, and
    is absent if there are none.
    """

    event_name: str
    events: Annotated[int, Field(ge=0)]
    first_seen: str
    last_seen: str
    properties: list[PropertyDescription]
    properties_left_out: Annotated[
        int | None, WithJsonSchema({"type": "integer", "minimum": 1})
    ] = None


class SchemaResult(ReadResult):
    """Rows by events, most first.

    ``columns`` are those with a value in any event. ``sampled_events``: at most so many events
    of each name, a random sample, were looked at for ``properties``.
    """

    rows: list[SchemaRow]
    columns: list[str]
    sampled_events: int
    truncated: Annotated[bool | None, WithJsonSchema({"const": True})] = None


if TYPE_CHECKING:

    class EventRow(ResponseBody):
        """One stored event: for type checkers; every other column is a text or None."""

        timestamp: str
        anonymous_id: str
        user_id: str | None

        def __getattr__(self, column: str) -> str | None: ...

else:
    EventRow = create_model(
        "EventRow",
        __base__=ResponseBody,
        __doc__="One stored event; ``properties`` is a JSON string, times are UTC.",
        **{
            column.name: (
                column.values | None if column.nullable else column.values,
                # The rows of an API that is older than a column do not have it.
                Field(
                    StoredEvent._field_defaults.get(column.name, ...), description=column.meaning
                ),
            )
            for column in SHOWN_COLUMNS
        },
    )


class QueryResult(ReadResult):
    """Events, newest first unless asked otherwise.

    ``next`` is the cursor of the events after these, if there are more and the question named an
    order or a cursor.
    """

    rows: list[EventRow]
    next: str | None = None
