"""The table of event columns: how each is stored, shown and explained.

`StoredEvent` declares the columns in the order in which they are stored and shown. Everything
else that lists columns derives from `COLUMNS`.
"""

from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple, get_type_hints

from millimetric_mcp.contract.attribution import Confidence

TEXT = "String"
FEW = "LowCardinality(String)"
"""A text with few distinct values, which the store keeps in a dictionary."""

_URL = "https://shop.example/?utm_source=facebook&utm_medium=cpc&utm_campaign=spring&fbclid=abc"


@dataclass(frozen=True, slots=True)
class Column:
    """The facts of one column; ``meaning`` and ``example`` are for the documentation.

    If ``nullable``, readers see an empty text as null. ``values`` is an enum of all values the
    column can have. ``name`` is the field's, unless given.
    """

    clickhouse_type: str
    meaning: str
    example: str = ""
    nullable: bool = False
    is_shown: bool = True
    values: type[str] = str
    name: str = ""


class StoredEvent(NamedTuple):
    """One event as the store keeps it: validated, classified and enriched. Build it by keyword.

    An empty text is an absent value. ``timestamp_ms`` counts milliseconds since 1970 UTC.
    ``properties`` is compact JSON. ``ip_hash`` has 16 bytes, zeros without an address.
    """

    project_id: Annotated[int, Column("UInt64", "the project", is_shown=False)]
    timestamp_ms: Annotated[
        int,
        Column("DateTime64(3, 'UTC')", "UTC", "2026-05-16T19:00:00.000Z", name="timestamp"),
    ]
    event_name: Annotated[
        str, Column(FEW, "what was sent as `event`; `$identify` for an identification", "signup")
    ]
    event_id: Annotated[
        str, Column(TEXT, "the sender's id; not unique", "evt_abc123", nullable=True)
    ]
    anonymous_id: Annotated[str, Column(TEXT, "the visitor", "u_abc")]
    user_id: Annotated[str, Column(TEXT, "the known user", "user_42", nullable=True)]
    session_id: Annotated[str, Column(TEXT, "as sent, else visitor and 30-minute slot", "sess_xyz")]
    source: Annotated[
        str, Column(FEW, "who sent the visitor: `facebook`, a domain, `direct`, …", "facebook")
    ]
    medium: Annotated[str, Column(FEW, "how: `paid`, `social`, `organic`, …, or as tagged", "paid")]
    campaign: Annotated[str, Column(FEW, "`utm_campaign` as written", "spring", nullable=True)]
    source_confidence: Annotated[
        str, Column(FEW, "`high`, `medium` or `low`", "high", values=Confidence)
    ]
    source_rule_id: Annotated[str, Column(FEW, "the rule that decided", "fb_ad_redirect")]
    referrer: Annotated[str, Column(TEXT, "as sent", "https://l.facebook.com/", nullable=True)]
    url: Annotated[str, Column(TEXT, "as sent", _URL, nullable=True)]
    path: Annotated[str, Column(TEXT, "as sent, else the path of `url`", "/", nullable=True)]
    country: Annotated[str, Column(FEW, "ISO code, from the address that sent the request")]
    device_type: Annotated[str, Column(FEW, "`mobile`, `tablet`, `desktop`")]
    browser: Annotated[str, Column(FEW, "`chrome`, `firefox`, `safari`, `edge`, `opera`")]
    os: Annotated[str, Column(FEW, "`windows`, `macos`, `android`, `ios`, `linux`")]
    properties: Annotated[
        str, Column(TEXT, "a JSON object as text; traits of `$identify`", '{"plan":"free"}')
    ]
    ip_hash: Annotated[bytes, Column("UInt128", "a hash of address and day", is_shown=False)]
    key_kind: Annotated[str, Column(FEW, "`pk` or `sk`: the key that sent it", is_shown=False)] = ""
    is_bot: Annotated[int, Column("UInt8", "1 if a bot's request sent it", is_shown=False)] = 0
    import_part: Annotated[
        int, Column("UInt64", "the import and its part that brought it, or 0", is_shown=False)
    ] = 0


COLUMNS = tuple(
    replace(column, name=column.name or field)
    for field, hint in get_type_hints(StoredEvent, include_extras=True).items()
    for column in hint.__metadata__
)
"""Every stored column, in the order of `StoredEvent`'s fields."""

SHOWN_COLUMNS = tuple(column for column in COLUMNS if column.is_shown)
"""The columns of an event row of ``/v1/query``, in its order."""

NULLABLE_COLUMNS = frozenset(column.name for column in COLUMNS if column.nullable)
"""The columns whose empty text readers see as null, in event rows and in groups of stats."""
