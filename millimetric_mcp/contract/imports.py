"""What an import writes: past events in numbered parts, each stored once; and taking it back."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from millimetric_mcp.contract.events import (
    RequestBody,
    ResponseBody,
    Result,
    Timestamp,
    TrackEvent,
    check_count,
)

MAX_IMPORT_EVENTS = 5000
MAX_CHUNK = 2**31 - 1

ImportId = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Your id of the import: letters, digits, dots, _ and -.",
    ),
]


class ImportedEvent(TrackEvent):
    """A past event. Country, device and visitor come from its own address and User-Agent.

    Address and User-Agent are not stored. A country or device that is given counts instead.
    """

    timestamp: Annotated[Timestamp, Field(description="ISO 8601 with offset; any past time.")]
    ip: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="The visitor's address; used, not stored."
    )
    user_agent: Annotated[str, Field(max_length=4096)] | None = Field(
        None, description="The visitor's User-Agent; used, not stored."
    )
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = Field(
        None, description="ISO code; default: from ip."
    )
    device_type: Literal["mobile", "tablet", "desktop"] | None = Field(
        None, description="Default: from user_agent."
    )
    browser: Literal["chrome", "firefox", "safari", "edge", "opera"] | None = Field(
        None, description="Default: from user_agent."
    )
    os: Literal["windows", "macos", "android", "ios", "linux"] | None = Field(
        None, description="Default: from user_agent."
    )


def _count_imported(value: object) -> object:
    return check_count(value, limit=MAX_IMPORT_EVENTS)


def _read_whole(value: object) -> object:
    """Return a whole number that JSON wrote with a decimal point as an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class ImportRequest(RequestBody):
    """One part of an import: 1 to 5000 events, all stored or none, and once however often sent."""

    import_id: ImportId
    chunk: Annotated[
        int,
        Field(strict=True, ge=0, le=MAX_CHUNK, description="The number of this part."),
        BeforeValidator(_read_whole),
    ]
    events: Annotated[
        tuple[ImportedEvent, ...],
        BeforeValidator(_count_imported),
        Field(json_schema_extra={"minItems": 1, "maxItems": MAX_IMPORT_EVENTS}),
    ]


class ImportResult(Result):
    """200: the part is durably stored. ``duplicate`` if it was before; then nothing was added."""

    ok: Literal[True]
    count: Annotated[int, Field(ge=1, le=MAX_IMPORT_EVENTS)]
    duplicate: bool


class ImportUndoRequest(RequestBody):
    """Deletes every event of one import."""

    import_id: ImportId


class ImportUndoResult(Result):
    """200: the import's ``deleted`` events are gone; an unknown import has none."""

    ok: Literal[True]
    deleted: Annotated[int, Field(ge=0)]


class ImportListRequest(RequestBody):
    """Lists the imports of the key's project."""


class StoredImport(ResponseBody):
    """One import. ``chunks`` are the stored parts' numbers as ranges, both ends included.

    ``is_undoing`` if it is being taken back, or that was interrupted.
    """

    import_id: str
    started_at: Timestamp
    events: int
    chunks: list[tuple[int, int]]
    is_undoing: bool


class ImportListResult(Result):
    """The project's imports, oldest first."""

    ok: Literal[True]
    imports: list[StoredImport]
