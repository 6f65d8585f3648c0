"""What is true of the events that were sent, counted exactly and without the product."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from millimetric_mcp.demo.generator import PURCHASE, SIGNUP, GeneratedEvent
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


Tallies = dict[tuple[str, ...], Tally]


def _tallies() -> Tallies:
    return defaultdict(Tally)


@dataclass(slots=True)
class Truth:
    """Exact counts by what the walk-through asks; days are UTC dates in ISO form."""

    total: Tally = field(default_factory=Tally)
    by_source: Tallies = field(default_factory=_tallies)
    by_source_medium: Tallies = field(default_factory=_tallies)
    by_day: Tallies = field(default_factory=_tallies)
    signups_by_day: Tallies = field(default_factory=_tallies)
    signups_by_source_medium: Tallies = field(default_factory=_tallies)
    purchases_by_device: Tallies = field(default_factory=_tallies)
    events_by_user: Counter[str] = field(default_factory=Counter)
    buyers: set[str] = field(default_factory=set)

    def add(self, event: GeneratedEvent) -> None:
        source, medium = event.attribution[:2]
        day = (write_day(event.timestamp_ms // DAY_MS),)
        self.total.add(event)
        self.by_source[(source,)].add(event)
        self.by_source_medium[source, medium].add(event)
        self.by_day[day].add(event)
        if event.user_id is not None:
            self.events_by_user[event.user_id] += 1
            if event.event == PURCHASE:
                self.buyers.add(event.user_id)
        if event.event == SIGNUP:
            self.signups_by_day[day].add(event)
            self.signups_by_source_medium[source, medium].add(event)
        if event.event == PURCHASE:
            self.purchases_by_device[(event.device.device_type,)].add(event)

    def choose_buyer(self, *, near: int) -> str:
        """The user whose number of events is nearest to ``near``, one who bought if anyone did.

        Of several the first by name.

        Raises:
            ValueError: there is no user.
        """
        users = self.buyers or self.events_by_user.keys()
        return min(users, key=lambda user: (abs(self.events_by_user[user] - near), user))


def tally(events: Iterable[GeneratedEvent]) -> Truth:
    """The truth of ``events``."""
    truth = Truth()
    for event in events:
        truth.add(event)
    return truth
