"""What the generator knows about people: what brought them, how far they came, when they returned.

A visitor signs up once, and a user has one visitor, so a person is either.
"""

import json
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from millimetric_mcp.demo.generator import (
    ADD_TO_CART,
    PAGEVIEW,
    PURCHASE,
    SIGNUP,
    GeneratedEvent,
)

DAY_MS = 86_400_000
FUNNEL = (PAGEVIEW, ADD_TO_CART, PURCHASE)
PRODUCT_PATH = "/products/"
"""Only page views of products are a step of the funnel."""
FUNNEL_MS = 7 * DAY_MS
DAYS_BEFORE = 3
"""Days of the first week that lie before 1970; it began on a Monday."""


@dataclass(slots=True)
class _Person:
    touch: tuple[str, str, str] | None = None
    """Source, medium and channel of the last touch."""
    steps: tuple["array[int]", ...] = field(
        default_factory=lambda: tuple(array("q") for _ in FUNNEL)
    )
    weeks: set[int] = field(default_factory=set)


class People:
    """Takes events, oldest first. ``signups`` and ``revenue`` count for the person's last touch.

    ``signups`` are by source and medium, ``revenue`` in cents by channel.
    """

    def __init__(self) -> None:
        self.signups: Counter[str] = Counter()
        self.revenue: Counter[str] = Counter()
        self._people: defaultdict[str, _Person] = defaultdict(_Person)
        self._visitors: dict[str, str] = {}

    def add(self, event: GeneratedEvent) -> None:
        if event.user_id and event.anonymous_id:
            self._visitors[event.user_id] = event.anonymous_id
        person = self._people[event.anonymous_id or self._visitors[event.user_id or ""]]
        source, medium = event.attribution[:2]
        if source not in {"direct", "internal"}:
            person.touch = source, medium, event.channel
        source, medium, channel = person.touch or ("direct", "direct", "direct")
        if event.event == SIGNUP:
            self.signups[f"{source} / {medium}"] += 1
        if event.event == PURCHASE:
            self.revenue[channel] += json.loads(event.properties)["amount_cents"]
        if event.event == PAGEVIEW:
            person.weeks.add((event.timestamp_ms // DAY_MS + DAYS_BEFORE) // 7)
        if event.event in FUNNEL and (event.event != PAGEVIEW or PRODUCT_PATH in event.url):
            person.steps[FUNNEL.index(event.event)].append(event.timestamp_ms)

    def count_steps(self) -> list[int]:
        """Return how many people took each step of `FUNNEL` after the steps before it."""
        levels = [
            max((_count_steps(one.steps, at) for at in one.steps[0]), default=0)
            for one in self._people.values()
        ]
        return [sum(level >= step for level in levels) for step in (1, 2, 3)]

    def count_returns(self) -> dict[tuple[str, int], int]:
        """Return the people by the Monday of their first page view, and weeks until another."""
        found: Counter[tuple[str, int]] = Counter()
        for person in self._people.values():
            if person.weeks:
                first = min(person.weeks)
                found.update((_write_monday(first), week - first) for week in person.weeks)
        return dict(found)


def _count_steps(steps: Sequence[Sequence[int]], start_ms: int) -> int:
    """Return how many steps were taken in order from the first at ``start_ms`` on."""
    at_ms = start_ms
    for number, times in enumerate(steps[1:], 1):
        next_at = bisect_left(times, at_ms)
        if next_at == len(times) or times[next_at] > start_ms + FUNNEL_MS:
            return number
        at_ms = times[next_at]
    return len(steps)


def _write_monday(week: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=week * 7 - DAYS_BEFORE)).isoformat()
