"""The read requests and their results: sources, stats and raw events over a window of time."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from millimetric_mcp.contract.columns import SHOWN_COLUMNS, StoredEvent
from millimetric_mcp.contract.events import ResponseBody, Result, Timestamp

MAX_SOURCES_LIMIT = 200
MAX_STATS_LIMIT = 1000
MAX_QUERY_LIMIT = 1000


class Breakdown(StrEnum):
    """Whether each medium of a source has its own row."""

    SOURCE_MEDIUM = "source_medium"
    SOURCE = "source"


class Metric(StrEnum):
    """What is counted: events, or distinct visitors (``anonymous_id``, an estimate)."""

    COUNT = "count"
    UNIQUES = "uniques"


class GroupColumn(StrEnum):
    """A column that stats can be grouped by."""

    SOURCE = "source"
    MEDIUM = "medium"
    CAMPAIGN = "campaign"
    COUNTRY = "country"
    DEVICE_TYPE = "device_type"
    BROWSER = "browser"
    OS = "os"
    PATH = "path"
    EVENT_NAME = "event_name"


class Interval(StrEnum):
    """The width of a bucket, in UTC; weeks start on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


def _split_columns(value: object) -> object:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        return names
    is_blank = isinstance(value, str) and not value.strip(" ,")
    names = [name.strip() if isinstance(name, str) else name for name in names]
    names = [name for name in names if name != ""]
    if is_blank or any(name not in list(GroupColumn) for name in names):
        raise PydanticCustomError(
            "group_by",
            "must be a comma list of {allowed}",
            {"allowed": ", ".join(GroupColumn)},
        )
    return tuple(dict.fromkeys(names))


GroupBy = Annotated[
    tuple[GroupColumn, ...],
    BeforeValidator(_split_columns),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^({'|'.join(GroupColumn)})(,({'|'.join(GroupColumn)}))*$",
        }
    ),
]
"""Columns to group by, each once, in the order asked; read from a comma list."""


def _read_digits(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch("[0-9]{1,9}", value):
        raise PydanticCustomError("int", "must be a whole number in decimal digits")
    return value


Limit = Annotated[int, BeforeValidator(_read_digits)]
Filter = Annotated[str | None, Field(min_length=1)]
"""A value that a column must equal. To filter nothing, leave it out; it can't be empty."""

_EVENT_NAME = "Only events of this name."
_GROUP_BY = f"Columns to group by, a comma list of {', '.join(GroupColumn)}."


FILTERS: Mapping[str, str] = {
    "event": "event_name",
    "source": "source",
    "medium": "medium",
    "country": "country",
    "user_id": "user_id",
    "anonymous_id": "anonymous_id",
}
"""The column that each filter compares, by the parameter's name.

Statements and tools derive their filters from it; a request model adds the parameter.
"""


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


class SourcesParams(WindowParams):
    """Events and visitors by source."""

    breakdown: Breakdown = Field(Breakdown.SOURCE_MEDIUM, description="What each row stands for.")
    limit: Limit = Field(50, ge=1, le=MAX_SOURCES_LIMIT, description="Most rows to answer with.")


class StatsParams(WindowParams):
    """One metric, by columns and buckets of time."""

    metric: Metric = Field(Metric.COUNT, description="What is counted.")
    group_by: GroupBy = Field((), description=_GROUP_BY)
    interval: Interval | None = Field(None, description="Width of a bucket; absent: one bucket.")
    event: Filter = Field(None, description=_EVENT_NAME)
    limit: Limit = Field(100, ge=1, le=MAX_STATS_LIMIT, description="Most rows to answer with.")


class QueryParams(WindowParams):
    """Raw events, newest first."""

    event: Filter = Field(None, description=_EVENT_NAME)
    source: Filter = Field(None, description="Only this source.")
    medium: Filter = Field(None, description="Only this medium.")
    country: Filter = Field(None, description="Only this ISO country code.")
    user_id: Filter = Field(None, description="Only this user.")
    anonymous_id: Filter = Field(None, description="Only this visitor.")
    limit: Limit = Field(100, ge=1, le=MAX_QUERY_LIMIT, description="Most rows to answer with.")


OptionalColumn = Annotated[str | None, WithJsonSchema({"type": "string"})]
"""A column that is absent unless it was asked for, and never null."""


class SourceRow(ResponseBody):
    """One source (and medium): events, visitors, and the share of paid events, 0 to 1."""

    source: str
    medium: OptionalColumn = None
    events: Annotated[int, Field(ge=0)]
    uniques: Annotated[int, Field(ge=0)]
    paid_share: Annotated[float, Field(ge=0, le=1)]


class SourcesResult(Result):
    """Rows by events, most first."""

    breakdown: Breakdown
    rows: list[SourceRow]


class StatsRow(ResponseBody):
    """One group in one bucket; it has only the columns that were asked for."""

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
    value: Annotated[int, Field(ge=0)]


class StatsResult(Result):
    """Rows by bucket, then value descending, then the columns.

    ``truncated`` is there, and true, if ``limit`` left rows out.
    """

    metric: Metric
    rows: list[StatsRow]
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


class QueryResult(Result):
    """Events, newest first."""

    rows: list[EventRow]
