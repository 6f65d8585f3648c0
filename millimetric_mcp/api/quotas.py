"""Bounds on what browser keys, which anybody can read, add to a project."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from millimetric_mcp.api.ingest.classify import FBCLID_SOCIAL_RULE
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.columns import StoredEvent
from millimetric_mcp.contract.events import IDENTIFY_EVENT, PAGEVIEW_EVENT
from millimetric_mcp.contract.keys import KeyKind
from millimetric_mcp.errors import RequestError

_DAY_S = 86_400
_ORDINARY_EVENTS = frozenset({PAGEVIEW_EVENT, IDENTIFY_EVENT})
_FREE_RULES = frozenset({"utm_explicit", "utm_paid", "ref_other", FBCLID_SOCIAL_RULE})
"""The rules whose source or medium is text of the URL or the referrer."""


@dataclass(slots=True)
class _Use:
    """What a project's browser keys have used: names since the start, bytes of the UTC day."""

    names: dict[str, set[int]] = field(default_factory=dict)
    day: date = date.min
    stored_bytes: int = 0


class BrowserQuota:
    """Counts in this process: invented names since its start, and bytes of each UTC day.

    Names are event names, sources with their medium, and campaigns. A known name is always
    accepted, so a flood of invented ones does not affect those in use. So are page views, and
    sources that no event can invent, such as search engines. Server keys have no bounds.
    """

    def __init__(
        self, *, max_names: int, max_bytes_per_day: int, clock: Callable[[], datetime]
    ) -> None:
        """``clock`` returns the UTC time."""
        self._max_names = max_names
        self._max_bytes_per_day = max_bytes_per_day
        self._clock = clock
        self._uses: dict[int, _Use] = {}

    def take(self, events: Sequence[StoredEvent]) -> None:
        """Count the events of one request, all or none.

        Raises:
            RequestError: daily_limit_reached or too_many_names.
        """
        if events[0].key_kind != KeyKind.PK:
            return
        now = self._clock()
        use = self._uses.setdefault(events[0].project_id, _Use())
        if use.day != now.date():
            use.day, use.stored_bytes = now.date(), 0
        stored_bytes = use.stored_bytes + sum(map(_measure, events))
        if stored_bytes > self._max_bytes_per_day:
            left_s = _DAY_S - int((now - now.replace(hour=0, minute=0, second=0)).total_seconds())
            raise RequestError(ErrorCode.DAILY_LIMIT_REACHED, retry_after_s=left_s)
        found = _list_names(events)
        for kind, names in found.items():
            known = use.names.setdefault(kind, set())
            if not names <= known and len(known | names) > self._max_names:
                sentence = f"The project has {self._max_names} different {kind} already."
                details = {"fieldErrors": {}, "formErrors": [sentence]}
                raise RequestError(ErrorCode.TOO_MANY_NAMES, details=details)
        for kind, names in found.items():
            use.names[kind] |= names
        use.stored_bytes = stored_bytes


def _list_names(events: Sequence[StoredEvent]) -> dict[str, set[int]]:
    """Return hashes of the names of each kind: a few bytes each, however long the names are."""
    names: dict[str, set[int]] = {"event names": set(), "sources": set(), "campaigns": set()}
    for event in events:
        if event.event_name not in _ORDINARY_EVENTS:
            names["event names"].add(hash(event.event_name))
        if event.source_rule_id in _FREE_RULES:
            names["sources"].add(hash((event.source, event.medium)))
        if event.campaign:
            names["campaigns"].add(hash(event.campaign))
    return names


def _measure(event: StoredEvent) -> int:
    """Return about how many bytes an event takes before compression."""
    return sum(len(value) for value in event if isinstance(value, str | bytes))
