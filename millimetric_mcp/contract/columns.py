"""The table of event columns: how each is stored, shown and explained.

`StoredEvent` declares the columns, in the order in which they are stored and shown. Everything
else that lists columns derives from `COLUMNS`.
"""

from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple, get_type_hints

from millimetric_mcp.contract.attribution import Confidence

TEXT = "String"
FEW_TEXTS = "LowCardinality(String)"
"""A text with few distinct values, which the store keeps in a dictionary."""


@dataclass(frozen=True, slots=True)
class Column:
    """The facts of one column.

    ``meaning`` and ``example`` are for the documentation. Readers see an empty text as null where
    ``null_when_empty``. ``values`` is an enum of the column's only values, if there is one.
    ``name`` is the field's, unless it is given.
    """

    clickhouse_type: str
    meaning: str
    example: str = ""
    null_when_empty: bool = False
    is_shown: bool = True
    values: type[str] = str
    name: str = ""


class StoredEvent(NamedTuple):
    """One event as the store keeps it: validated, classified and enriched. Build it by keyword.

    An empty text is an absent value. ``timestamp_ms`` counts milliseconds since 1970 UTC.
    ``session_id`` is as sent: readers see the default one where it is empty. ``properties`` is
    compact JSON text. ``ip_hash`` has 16 bytes, zeros without an address.
    """

    project_id: Annotated[int, Column("UInt64", "the project", is_shown=False)]
    timestamp_ms: Annotated[
        int,
        Column(
            "DateTime64(3, 'UTC')",
            "when it happened, UTC",
            "2026-05-16T19:00:00.000Z",
            name="timestamp",
        ),
    ]
    event_name: Annotated[
        str,
        Column(FEW_TEXTS, "what was sent as `event`; `$identify` for an identification", "signup"),
    ]
    event_id: Annotated[
        str, Column(TEXT, "the sender's id; not unique", "evt_abc123", null_when_empty=True)
    ]
    anonymous_id: Annotated[str, Column(TEXT, "the visitor", "u_abc")]
    user_id: Annotated[str, Column(TEXT, "the known user", "user_42", null_when_empty=True)]
    session_id: Annotated[str, Column(TEXT, "as sent, else visitor and 30-minute slot", "sess_xyz")]
    source: Annotated[
        str,
        Column(
            FEW_TEXTS,
            "who sent the visitor: `facebook`, `google`, a domain, `direct`, `internal`",
            "facebook",
        ),
    ]
    medium: Annotated[
        str,
        Column(
            FEW_TEXTS,
            "how: `paid`, `social`, `organic`, `email`, `referral`, `direct`, or as tagged",
            "paid",
        ),
    ]
    campaign: Annotated[
        str, Column(FEW_TEXTS, "`utm_campaign` as written", "spring", null_when_empty=True)
    ]
    source_confidence: Annotated[
        str, Column(FEW_TEXTS, "`high`, `medium` or `low`", "high", values=Confidence)
    ]
    source_rule_id: Annotated[str, Column(FEW_TEXTS, "the rule that decided", "fb_ad_redirect")]
    referrer: Annotated[
        str, Column(TEXT, "as sent", "https://l.facebook.com/", null_when_empty=True)
    ]
    url: Annotated[
        str,
        Column(
            TEXT,
            "as sent",
            "https://shop.example/?utm_source=facebook&utm_medium=cpc&utm_campaign=spring&fbclid=abc",
            null_when_empty=True,
        ),
    ]
    path: Annotated[str, Column(TEXT, "as sent, else the path of `url`", "/", null_when_empty=True)]
    country: Annotated[
        str, Column(FEW_TEXTS, "ISO code, from the address that the request came from")
    ]
    device_type: Annotated[str, Column(FEW_TEXTS, "`mobile`, `tablet`, `desktop`")]
    browser: Annotated[str, Column(FEW_TEXTS, "`chrome`, `firefox`, `safari`, `edge`, `opera`")]
    os: Annotated[str, Column(FEW_TEXTS, "`windows`, `macos`, `android`, `ios`, `linux`")]
    properties: Annotated[
        str,
        Column(
            TEXT,
            "a JSON object as a string; the traits of `$identify`",
            '{"plan":"free","team_size":4}',
        ),
    ]
    ip_hash: Annotated[bytes, Column("UInt128", "a hash of the address and day", is_shown=False)]


def _list_columns() -> tuple[Column, ...]:
    hints = get_type_hints(StoredEvent, include_extras=True)
    columns = ((field, hint.__metadata__[0]) for field, hint in hints.items())
    return tuple(replace(column, name=column.name or field) for field, column in columns)


COLUMNS = _list_columns()
"""Every stored column, in the order of `StoredEvent`'s fields."""

SHOWN_COLUMNS = tuple(column for column in COLUMNS if column.is_shown)
"""The columns of an event row of ``/v1/query``, in its order."""

NULL_WHEN_EMPTY = frozenset(column.name for column in COLUMNS if column.null_when_empty)
"""The columns whose empty text readers see as null, in event rows and in groups of stats."""
