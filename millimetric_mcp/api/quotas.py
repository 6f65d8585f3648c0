"""Bounds on what browser keys, which anybody can read, add to a project."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from millimetric_mcp.api.ingest.classify import FBCLID_SOCIAL_RULE
from millimetric_mcp.api.store import Store, StoredName
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.columns import StoredEvent
from millimetric_mcp.contract.events import IDENTIFY_EVENT, PAGEVIEW_EVENT
from millimetric_mcp.contract.keys import KeyKind
from millimetric_mcp.errors import RequestError, StoreUnavailable, StoreUncertain

_DAY_S = 86_400
_ORDINARY_EVENTS = frozenset({PAGEVIEW_EVENT, IDENTIFY_EVENT})
_FREE_RULES = frozenset({"utm_explicit", "utm_paid", "ref_other", FBCLID_SOCIAL_RULE})
"""The rules whose source or medium is text of the URL or the referrer."""


_RELOAD_AFTER = timedelta(minutes=10)
"""Names at the bound are looked up again after it: other keys and processes bring names too."""
_IN_USE = timedelta(days=30)
"""A name is in use for so long after its last event."""

_KNOWN_NAMES = 4
"""So many times the bound are known of each kind: the names of browsers, then the most used."""


@dataclass(slots=True)
class _Names:
    """A project's names of one kind, as hashes; those of other keys are ``free``.

    ``recent`` are those of ``counted`` that came since the last load began: the next load may
    be too early to find them in the store.
    """

    free: set[int] = field(default_factory=set)
    counted: set[int] = field(default_factory=set)
    recent: set[int] = field(default_factory=set)

    def find_new(self, names: set[int]) -> set[int]:
        return names - self.free - self.counted


@dataclass(slots=True)
class _Use:
    """What a project's browser keys have used: names, and bytes of the UTC day."""

    names: dict[str, _Names] = field(
        default_factory=lambda: {kind: _Names() for kind in ("event names", "sources", "campaigns")}
    )
    loaded_at: datetime | None = None
    tried_at: datetime | None = None
    loading: asyncio.Task[None] | None = None
    day: date = date.min
    stored_bytes: int = 0


class BrowserQuota:
    """Counts the names that browser keys bring into a project, and their bytes of each UTC day.

    Names are event names, sources with their medium, and campaigns. A known name is always
    accepted, so a flood of invented ones does not affect those in use. So are page views, and
    sources that no event can invent, such as search engines. Server keys have no bounds.

    The names in use are loaded beside the first event with a name, and at the bound again. The
    bytes are those since this process's start.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_names: int,
        max_bytes_per_day: int,
        clock: Callable[[], datetime],
    ) -> None:
        """``clock`` returns the UTC time."""
        self._store = store
        self._max_names = max_names
        self._max_bytes_per_day = max_bytes_per_day
        self._clock = clock
        self._uses: dict[int, _Use] = {}

    async def take(self, events: Sequence[StoredEvent]) -> None:
        """Count the events of one request, all or none.

        Raises:
            RequestError: daily_limit_reached or too_many_names.
            StoreUnavailable: more names than may come, and those in use can't be loaded.
        """
        if events[0].key_kind != KeyKind.PK:
            return
        project_id = events[0].project_id
        use = self._uses.setdefault(project_id, _Use())
        found = _list_names(events)
        if use.loaded_at is None and self._is_over(use.tried_at) and any(found.values()):
            self._start_loading(project_id, use)
        excess = self._find_excess(use, found)
        if excess and self._is_over(use.loaded_at):
            await asyncio.shield(self._start_loading(project_id, use))  # others wait for it too
            excess = self._find_excess(use, found)
        # Nothing waits from here on, so that requests at the same time can't exceed the bounds.
        stored_bytes = self._add_bytes(use, events)
        if excess:
            sentence = (
                f"Browser keys may bring {self._max_names} different {excess} into a project."
            )
            details = {"fieldErrors": {}, "formErrors": [sentence]}
            raise RequestError(ErrorCode.TOO_MANY_NAMES, details=details)
        for kind, names in found.items():
            known = use.names[kind]
            new = known.find_new(names)
            known.counted |= new
            known.recent |= new
        use.stored_bytes = stored_bytes

    def _find_excess(self, use: _Use, found: Mapping[str, set[int]]) -> str | None:
        """Return a kind of which there are more new names than may come."""
        for kind, names in found.items():
            known = use.names[kind]
            new = known.find_new(names)
            if new and len(new) + len(known.counted) > self._max_names:
                return kind
        return None

    def _add_bytes(self, use: _Use, events: Sequence[StoredEvent]) -> int:
        """Return the bytes of the day with ``events``.

        Raises:
            RequestError: daily_limit_reached.
        """
        now = self._clock()
        if use.day != now.date():
            use.day, use.stored_bytes = now.date(), 0
        stored_bytes = use.stored_bytes + sum(map(_measure, events))
        if stored_bytes > self._max_bytes_per_day:
            left_s = _DAY_S - int((now - now.replace(hour=0, minute=0, second=0)).total_seconds())
            raise RequestError(ErrorCode.DAILY_LIMIT_REACHED, retry_after_s=left_s)
        return stored_bytes

    def _is_over(self, moment: datetime | None) -> bool:
        return moment is None or self._clock() - moment >= _RELOAD_AFTER

    def _start_loading(self, project_id: int, use: _Use) -> "asyncio.Task[None]":
        if use.loading is None:
            use.tried_at = self._clock()
            use.loading = asyncio.create_task(self._load(project_id, use))
            # Otherwise asyncio logs the error of a load that no request waits for.
            use.loading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return use.loading

    async def _load(self, project_id: int, use: _Use) -> None:
        """Replace what is known of a project's names by what the store has, and what may follow."""
        began_at = self._clock()
        earlier = {kind: set(names.recent) for kind, names in use.names.items()}
        try:
            stored = await self._store.list_names(
                project_id,
                except_events=_ORDINARY_EVENTS,
                source_rules=_FREE_RULES,
                since=began_at - _IN_USE,
                limit=_KNOWN_NAMES * self._max_names,
            )
        except StoreUncertain as error:
            raise StoreUnavailable("the names in use can't be read") from error
        finally:
            use.loading = None
        for kind, names in use.names.items():
            of_kind = [one for one in stored if one.kind == kind]
            names.free = {_hash(one) for one in of_kind if not one.is_of_browsers}
            names.counted = {_hash(one) for one in of_kind if one.is_of_browsers}
            names.counted |= names.recent - names.free
            names.recent -= earlier[kind]
        use.loaded_at = began_at


def _list_names(events: Sequence[StoredEvent]) -> dict[str, set[int]]:
    """Return hashes of the names of each kind: a few bytes each, however long the names are."""
    names: dict[str, set[int]] = {"event names": set(), "sources": set(), "campaigns": set()}
    for event in events:
        if event.event_name not in _ORDINARY_EVENTS:
            names["event names"].add(hash((event.event_name, "")))
        if event.source_rule_id in _FREE_RULES:
            names["sources"].add(hash((event.source, event.medium)))
        if event.campaign:
            names["campaigns"].add(hash((event.campaign, "")))
    return names


def _hash(stored: StoredName) -> int:
    return hash((stored.name, stored.medium))


def _measure(event: StoredEvent) -> int:
    """Return about how many bytes an event takes before compression."""
    texts = (value.encode() if isinstance(value, str) else value for value in event)
    return sum(len(text) for text in texts if isinstance(text, bytes))
