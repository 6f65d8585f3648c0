"""What is true of the events that were sent, counted exactly and without the product."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from millimetric_mcp.demo.generator import SIGNUP, GeneratedEvent
from millimetric_mcp.demo.payload import DAY_MS, write_day

PAID = "paid"


@dataclass(slots=True)
class Tally:
    """How many events, how many of them paid, and by whom (``anonymous_id``)."""

    events: int = 0
    paid: int = 0
    visitors: set[str] = field(default_factory=set)

    def add(self, event: GeneratedEvent) -> None:
        self.events += 1
        self.paid += event.attribution.medium == PAID
        self.visitors.add(event.anonymous_id)

    @property
    def uniques(self) -> int:
        return len(self.visitors)

    @property
    def paid_share(self) -> float:
        return self.paid / self.events if self.events else 0.0


def _tallies() -> defaultdict[tuple[str, ...], Tally]:
    return defaultdict(Tally)


@dataclass(slots=True)
class Truth:
    """Exact counts by what the walk-through asks; days are UTC dates in ISO form."""

    total: Tally = field(default_factory=Tally)
    by_source: dict[tuple[str, ...], Tally] = field(default_factory=_tallies)
    by_source_medium: dict[tuple[str, ...], Tally] = field(default_factory=_tallies)
    by_day: dict[tuple[str, ...], Tally] = field(default_factory=_tallies)
    by_event_device: dict[tuple[str, ...], Tally] = field(default_factory=_tallies)
    signups_by_day: dict[tuple[str, ...], Tally] = field(default_factory=_tallies)
    signups_by_source_medium: dict[tuple[str, ...], Tally] = field(default_factory=_tallies)

    def add(self, event: GeneratedEvent) -> None:
        source, medium = event.attribution[:2]
        day = (write_day(event.timestamp_ms // DAY_MS),)
        self.total.add(event)
        self.by_source[(source,)].add(event)
        self.by_source_medium[source, medium].add(event)
        self.by_day[day].add(event)
        self.by_event_device[event.event, event.device.device_type].add(event)
        if event.event == SIGNUP:
            self.signups_by_day[day].add(event)
            self.signups_by_source_medium[source, medium].add(event)


def tally(events: Iterable[GeneratedEvent]) -> Truth:
    """The truth of ``events``."""
    truth = Truth()
    for event in events:
        truth.add(event)
    return truth
