"""The counts that the API's answers must have, and the comparison with those they have."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from millimetric_mcp.demo.batches import write_time
from millimetric_mcp.demo.generator import (
    ADD_TO_CART,
    PAGEVIEW,
    SIGNUP,
    GeneratedEvent,
)
from millimetric_mcp.demo.people import People

Values = Mapping[str, object]
"""Values of an answer by a key such as ``facebook / paid`` or ``2026-05-16``."""


@dataclass(slots=True)
class Tally:
    """How many events, how many of them from ads, and their visitors."""

    events: int = 0
    paid: int = 0
    visitors: set[str] = field(default_factory=set)

    def add(self, event: GeneratedEvent) -> None:
        self.events += 1
        self.paid += event.attribution.medium == "paid"
        # The API makes a visitor up for an event without one.
        self.visitors.add(event.anonymous_id or f"of {event.event_id}")

    @property
    def uniques(self) -> int:
        return len(self.visitors)

    @property
    def paid_share(self) -> float:
        return self.paid / self.events if self.events else 0.0


class ExpectedCounts:
    """Exact counts of sent events, in groups such as ``sign-ups by day``."""

    def __init__(self) -> None:
        self.events_by_user: Counter[str] = Counter()
        self.people = People()
        self._tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)

    def add(self, event: GeneratedEvent) -> None:
        for group in _list_groups(event):
            self._tallies[group].add(event)
        if event.user_id is not None:
            self.events_by_user[event.user_id] += 1
        self.people.add(event)

    def get(self, group: str, column: str) -> dict[str, object]:
        """Return a group's ``events``, ``uniques`` or ``paid_share`` by key, as in answers."""
        return {
            key: getattr(tally, column)
            for (name, key), tally in self._tallies.items()
            if name == group
        }

    def watch(self, events: Iterable[GeneratedEvent]) -> Iterator[GeneratedEvent]:
        """Yield ``events`` and count each."""
        for event in events:
            self.add(event)
            yield event


def _list_groups(event: GeneratedEvent) -> Iterator[tuple[str, str]]:
    """Yield the groups that an event belongs to, each with the event's key in it."""
    source, medium = event.attribution.source, event.attribution.medium
    day = write_time(event.timestamp_ms)[:10]
    yield "events", "total"
    yield "events by source and medium", f"{source} / {medium}"
    if event.event == PAGEVIEW:
        yield "page views", "total"
        yield "page views by source and medium", f"{source} / {medium}"
        yield "page views by day", day
    if source == "facebook":
        yield "facebook", source
        if medium == "paid":
            yield "facebook's paid events by proof", prove_paid(event)
    if event.event == SIGNUP:
        yield "sign-ups", "total"
        yield "sign-ups by day", day
    if event.event == ADD_TO_CART:
        yield "carts by device", event.device.device_type


PROVEN, UNPROVEN = "a paid utm_medium", "fbclid alone"


def prove_paid(event: GeneratedEvent) -> str:
    """Return what a paid event of Facebook rests on."""
    return PROVEN if "utm_medium=" in (event.url or "") else UNPROVEN


@dataclass(slots=True)
class Checks:
    """How many values are correct, and a sentence about each that is not."""

    correct: int = 0
    mismatches: list[str] = field(default_factory=list)


def compare(what: str, *, found: Values, sent: Values, tolerance: float = 0.0) -> Checks:
    """Compare values by key; numbers may differ by ``tolerance`` times the one sent."""
    checks = Checks()
    for key in sorted(found.keys() | sent.keys()):
        got, expected = found.get(key, "nothing"), sent.get(key, "nothing")
        is_correct = got == expected
        if isinstance(got, int) and isinstance(expected, int):
            is_correct = abs(got - expected) <= tolerance * expected
        if is_correct:
            checks.correct += 1
        else:
            checks.mismatches.append(f"{what} ({key}): got {got}, expected {expected}")
    return checks
