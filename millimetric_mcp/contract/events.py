"""What a client writes: events, batches, identifications and deletions."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from millimetric_mcp.contract.validation import (
    check_absolute_url,
    compact_object,
    format_timestamp,
    parse_timestamp,
)

MAX_BODY_BYTES = 10 * 1024 * 1024
"""As sent, and inflated."""

MAX_BATCH_EVENTS = 1000
PAGEVIEW_EVENT = "$pageview"
IDENTIFY_EVENT = "$identify"

Timestamp = Annotated[
    datetime,
    BeforeValidator(parse_timestamp),
    PlainSerializer(format_timestamp, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A UTC time, read from ISO 8601 with an offset; milliseconds are kept."""

CompactObject = Annotated[
    str,
    BeforeValidator(compact_object),
    PlainSerializer(json.loads, when_used="json"),
    WithJsonSchema({"type": "object"}),
]
"""A JSON object, held as its compact JSON text (at most 8192 bytes in UTF-8)."""

EventName = Annotated[str, Field(min_length=1, max_length=128)]
ShortId = Annotated[str, Field(min_length=1, max_length=128)]
UserId = Annotated[str, Field(min_length=1, max_length=256)]
AbsoluteUrl = Annotated[
    str, Field(min_length=1, max_length=2048), AfterValidator(check_absolute_url)
]
LongText = Annotated[str, Field(max_length=2048)]


class RequestBody(BaseModel):
    """A request body. Unknown fields are ignored, and so are those that the server fills in."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


class ResponseBody(BaseModel):
    """A response body. Like a request's, its validator is built at the first use."""

    model_config = ConfigDict(defer_build=True)


class Result(ResponseBody):
    """The body of a successful response.

    ``ignored`` names unknown fields or parameters of the request; it is absent without any.
    """

    ignored: Annotated[
        list[str] | None, WithJsonSchema({"type": "array", "items": {"type": "string"}})
    ] = None


class TrackEvent(RequestBody):
    """One analytics event."""

    event: Annotated[
        EventName, Field(description="Event name; system events start with $, e.g. $pageview.")
    ]
    event_id: ShortId | None = Field(None, description="Your stable id; not deduplicated.")
    timestamp: Timestamp | None = Field(None, description="ISO 8601 with offset; default: now.")
    anonymous_id: ShortId | None = Field(None, description="Visitor id; generated when absent.")
    user_id: UserId | None = Field(None, description="Your id of a known person.")
    session_id: ShortId | None = Field(None, description="Default: visitor id and 30-minute slot.")
    url: AbsoluteUrl | None = Field(
        None, description="Full page URL with utm_* and click ids; decides the attribution."
    )
    path: LongText | None = Field(None, description="Default: the path of url.")
    referrer: LongText | None = Field(
        None, description="Full referrer URL; used for the attribution."
    )
    properties: CompactObject | None = Field(
        None, description="Free-form object, at most 8192 bytes of JSON."
    )


def check_count(value: object, *, limit: int = MAX_BATCH_EVENTS) -> object:
    """Check the count before any event: the errors of millions of events would fill the memory."""
    if isinstance(value, list | tuple) and not 1 <= len(value) <= limit:
        raise PydanticCustomError(
            "count",
            "must hold 1 to {limit} events, not {count}",
            {"limit": limit, "count": len(value)},
        )
    return value


class BatchRequest(RequestBody):
    """1 to 1000 events, all stored or none."""

    events: Annotated[
        tuple[TrackEvent, ...],
        BeforeValidator(check_count),
        Field(json_schema_extra={"minItems": 1, "maxItems": MAX_BATCH_EVENTS}),
    ]


class IdentifyRequest(RequestBody):
    """Ties a visitor to a known person; stored as a ``$identify`` event, history stays."""

    anonymous_id: Annotated[ShortId, Field(description="The visitor's id.")]
    user_id: Annotated[UserId, Field(description="Your id of the person.")]
    traits: CompactObject | None = Field(
        None, description="What is known about the person, at most 8192 bytes of JSON."
    )


def _check_one_id(user_id: str | None, info: ValidationInfo) -> str | None:
    other = info.data.get("anonymous_id", ...)  # absent if it is invalid itself
    if other is not ... and (user_id is None) is (other is None):
        raise PydanticCustomError("one_id", "give either user_id or anonymous_id")
    return user_id


def _check_linked(linked: bool | None, info: ValidationInfo) -> bool | None:  # noqa: FBT001
    if linked and info.data.get("anonymous_id") is not None:
        raise PydanticCustomError("linked", "must come with user_id, not with anonymous_id")
    return linked


class ForgetRequest(RequestBody):
    """Deletes every event of one user, or of one visitor, of the key's project."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["user_id"]}, {"required": ["anonymous_id"]}]}
    )

    anonymous_id: ShortId | None = Field(None, description="The visitor, instead of a user.")
    user_id: Annotated[UserId | None, AfterValidator(_check_one_id)] = Field(
        None, description="The user whose events are deleted.", validate_default=True
    )
    linked: Annotated[bool | None, AfterValidator(_check_linked)] = Field(
        None,
        description="With user_id: also delete visitors that events tie to this user, and to no "
        "other.",
        strict=True,
    )


class TrackResult(Result):
    """202: the event is durably stored."""

    ok: Literal[True]
    event_id: str | None


class BatchResult(Result):
    """202: all ``count`` events are durably stored."""

    ok: Literal[True]
    count: Annotated[int, Field(ge=1, le=MAX_BATCH_EVENTS)]


class IdentifyResult(Result):
    """200: the ``$identify`` event is durably stored."""

    ok: Literal[True]


class ForgetResult(Result):
    """200: the deletion is durably queued and completes by itself.

    ``applied`` repeats ``linked``; an API that does not know it leaves it out.
    """

    ok: Literal[True]
    queued: Literal[True]
    applied: Annotated[
        dict[Literal["linked"], Literal[True]] | None,
        WithJsonSchema({"type": "object", "properties": {"linked": {"const": True}}}),
    ] = None


def dump_json(body: RequestBody) -> dict[str, Any]:
    """Return the body as it is sent: without absent fields, times in the contract's form."""
    return body.model_dump(mode="json", exclude_none=True)
