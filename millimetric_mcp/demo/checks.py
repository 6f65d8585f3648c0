"""The counts that the API's answers must have, and the comparison with those they have."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from millimetric_mcp.demo.batches import write_time
from millimetric_mcp.demo.generator import PURCHASE, SIGNUP, GeneratedEvent

UNIQUES_TOLERANCE = 0.03
"""Numbers of visitors are estimates, at most this share off."""


@dataclass(slots=True)
class Tally:
    """How many events, how many of them from ads, and their visitors."""

    events: int = 0
    paid: int = 0
    visitors: set[str] = field(default_factory=set)

    def add(self, event: GeneratedEvent) -> None:
        self.events += 1
        self.paid += event.attribution.medium == "paid"
        self.visitors.add(event.anonymous_id)

    @property
    def uniques(self) -> int:
        return len(self.visitors)

    @property
    def paid_share(self) -> float:
        return self.paid / self.events if self.events else 0.0


Tallies = dict[str, Tally]


def _make_tallies() -> Tallies:
    return defaultdict(Tally)


@dataclass(slots=True)
class ExpectedCounts:
    """Exact counts of sent events. Keys: ``facebook``, ``facebook / paid``, ``2026-05-16``."""

    total: Tally = field(default_factory=Tally)
    by_source: Tallies = field(default_factory=_make_tallies)
    by_source_medium: Tallies = field(default_factory=_make_tallies)
    by_day: Tallies = field(default_factory=_make_tallies)
    signups_by_day: Tallies = field(default_factory=_make_tallies)
    signups_by_source_medium: Tallies = field(default_factory=_make_tallies)
    purchases_by_device: Tallies = field(default_factory=_make_tallies)
    events_by_user: Counter[str] = field(default_factory=Counter)
    buyers: set[str] = field(default_factory=set)

    def add(self, event: GeneratedEvent) -> None:
        source, medium = event.attribution.source, event.attribution.medium
        day = write_time(event.timestamp_ms)[:10]
        tallies = [
            self.total,
            self.by_source[source],
            self.by_source_medium[f"{source} / {medium}"],
            self.by_day[day],
        ]
        if event.event == SIGNUP:
            tallies.append(self.signups_by_day[day])
            tallies.append(self.signups_by_source_medium[f"{source} / {medium}"])
        if event.event == PURCHASE:
            tallies.append(self.purchases_by_device[event.device.device_type])
        for tally in tallies:
            tally.add(event)
        if event.user_id is not None:
            self.events_by_user[event.user_id] += 1
            if event.event == PURCHASE:
                self.buyers.add(event.user_id)

    def watch(self, events: Iterable[GeneratedEvent]) -> Iterator[GeneratedEvent]:
        """Yield ``events`` and count each."""
        for event in events:
            self.add(event)
            yield event

    def choose_user(self, *, events: int) -> str:
        """Return the user with about ``events`` events, a buyer if there is one.

        Raises:
            ValueError: there is no user.
        """
        users = self.buyers or self.events_by_user.keys()
        return min(users, key=lambda user: (abs(self.events_by_user[user] - events), user))


@dataclass(slots=True)
class Checks:
    """How many values were correct, and a sentence about each that was not."""

    correct: int = 0
    mismatches: list[str] = field(default_factory=list)

    def compare(
        self,
        what: str,
        *,
        found: Mapping[str, object],
        sent: Mapping[str, object],
        tolerance: float = 0.0,
    ) -> None:
        """Compare values by key; numbers may differ by ``tolerance`` times the one sent."""
        for key in sorted(found.keys() | sent.keys()):
            if key in found and key in sent and _agree(found[key], sent[key], tolerance):
                self.correct += 1
            else:
                got, expected = (
                    repr(side[key]) if key in side else "nothing" for side in (found, sent)
                )
                self.mismatches.append(f"{what} ({key}): got {got}, expected {expected}")

    def add(self, other: "Checks") -> None:
        self.correct += other.correct
        self.mismatches += other.mismatches


def _agree(found: object, sent: object, tolerance: float) -> bool:
    if isinstance(found, int | float) and isinstance(sent, int | float):
        return abs(found - sent) <= tolerance * sent
    return found == sent
