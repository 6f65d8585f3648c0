"""A month of the shop's events, in order of time and the same for the same arguments.

Memory is bounded: an hour of events and a fixed number of visitors are kept.

A page view carries its own URL and referrer. A sign-up and a purchase carry those of the
visitor's last landing that was not direct, as an SDK with a cookie sends them.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from operator import attrgetter
from random import Random
from typing import NamedTuple
from uuid import UUID

from millimetric_mcp.contract.attribution import Attribution, Confidence
from millimetric_mcp.contract.validation import EPOCH
from millimetric_mcp.demo.shop import Channel, Device, Landing, Market, Page, Weighted, load_shop

PAGEVIEW, ADD_TO_CART, SIGNUP, PURCHASE = "$pageview", "add_to_cart", "signup", "purchase"
INTERNAL = Attribution("internal", "direct", None, Confidence.HIGH, "ref_internal")

HOUR_MS = 3_600_000
HOUR_WEIGHTS = (
    *(1.1, 0.7, 0.5, 0.4, 0.5, 0.9, 1.8, 3.0, 3.9, 4.4, 4.6, 4.7),
    *(5.0, 4.9, 4.6, 4.6, 4.9, 5.4, 6.2, 7.0, 7.2, 6.2, 4.4, 2.4),
)
"""Events by hour of the day in UTC: fewest at night, most in the evening."""
WEEKDAY_WEIGHTS = (1.06, 1.02, 1.0, 1.04, 0.94, 0.82, 1.12)
"""Events by weekday, Monday first."""
GROWTH = 0.2
"""How much busier the last day is than the first."""

RETURNING_SHARE = 0.36
MAX_VISITORS = 20_000
"""How many visitors may return; a new one then replaces another."""
SESSION_GAP_MS = 30 * 60_000
CUSTOMER_PURCHASE_RATE, GUEST_PURCHASE_RATE = 0.11, 0.014
PAGES_PER_VISIT = Weighted(
    [(1, 44), (2, 17), (3, 11), (4, 8), (5, 6), (6, 4), (7, 3), (8, 2.5), (10, 2), (14, 1.5)]
)
READING_MS = tuple(int(3_000 - 42_000 * math.log(1 - (step + 0.5) / 128)) for step in range(128))
"""Equally likely times on a page: 3 s and an exponential distribution of mean 42 s."""
SIGNUP_METHODS = Weighted([("email", 62), ("google", 27), ("apple", 11)])
ITEMS_IN_CART = Weighted([(1, 62), (2, 25), (3, 9), (4, 4)])


class GeneratedEvent(NamedTuple):
    """One event as it is sent, and what only the generator knows about it.

    ``timestamp_ms`` is milliseconds since 1970 UTC; ``properties`` is compact JSON text.
    Never sent: ``device`` (but for its User-Agent), ``country``, and ``attribution``, the
    one that the API must find.
    """

    timestamp_ms: int
    event: str
    event_id: str | None
    anonymous_id: str
    user_id: str | None
    url: str
    referrer: str | None
    properties: str
    device: Device
    country: str
    attribution: Attribution


@dataclass(slots=True)
class _Visitor:
    anonymous_id: str
    device: Device
    market: Market
    last_touch: Landing
    """The last landing that was not direct, or the first of all."""
    user_id: str | None = None
    seen_until_ms: int = 0

    @property
    def page_properties(self) -> str:
        return f',"lang":"{self.market.language}","screen":"{self.device.screen}"}}'


@dataclass(frozen=True, slots=True)
class _Hour:
    starts_ms: int
    day: date
    events_until: int
    """How many events of the month there are by the end of this hour."""


def generate(*, seed: int, end: datetime, events: int, days: int = 30) -> Iterator[GeneratedEvent]:
    """Yield exactly ``events`` events of the ``days`` before ``end`` (exclusive), oldest first."""
    visits = _Visits(Random(seed), until_ms=_to_ms(end))  # noqa: S311 - the data must repeat
    created = 0
    waiting: list[GeneratedEvent] = []
    for hour in _plan_hours(end=end, events=events, days=days):
        while created < hour.events_until:
            visit = visits.create(hour)[: events - created]
            created += len(visit)
            waiting += visit
        waiting.sort(key=_get_time)
        ready = bisect_left(waiting, hour.starts_ms + HOUR_MS, key=_get_time)
        yield from waiting[:ready]
        del waiting[:ready]


_get_time = attrgetter("timestamp_ms")


def _to_ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _plan_hours(*, end: datetime, events: int, days: int) -> Iterator[_Hour]:
    start = end.astimezone(UTC) - timedelta(days=days)
    hours = [start + timedelta(hours=number) for number in range(24 * days)]
    totals = list(
        accumulate(
            HOUR_WEIGHTS[hour.hour]
            * WEEKDAY_WEIGHTS[hour.weekday()]
            * (1 + GROWTH * number / len(hours))
            for number, hour in enumerate(hours)
        )
    )
    for hour, total in zip(hours, totals, strict=True):
        yield _Hour(_to_ms(hour), hour.date(), round(events * total / totals[-1]))


class _Visits:
    """Creates visits and remembers the visitors."""

    def __init__(self, rng: Random, *, until_ms: int) -> None:
        self._rng = rng
        self._until_ms = until_ms
        self._shop = load_shop()
        self._visitors: list[_Visitor] = []
        self._users = 0
        self._orders = 0
        self._channels = {
            (returning, weekday): Weighted(
                [
                    (channel, channel.weigh(returning=returning, weekday=weekday))
                    for channel in self._shop.channels
                ]
            )
            for returning in (False, True)
            for weekday in range(7)
        }

    def create(self, hour: _Hour) -> list[GeneratedEvent]:
        """Return the events of one visit that begins in ``hour``, none after the month's end."""
        rng, until_ms = self._rng, self._until_ms
        starts_ms = min(hour.starts_ms + int(rng.random() * HOUR_MS), until_ms - 1)
        visitor = self._find_returning(starts_ms)
        channel = self._channels[visitor is not None, hour.day.weekday()].pick(rng)
        landing = channel.land(rng, hour.day)
        if visitor is None:
            visitor = self._add_visitor(channel, landing)
        elif landing.attribution.source != "direct":
            visitor.last_touch = landing
        visit = _Visit(rng, visitor, landing=landing, starts_ms=starts_ms)
        self._continue(visit, channel)
        visitor.seen_until_ms = visit.now_ms
        if visit.now_ms < until_ms:
            return visit.events
        return [event for event in visit.events if event.timestamp_ms < until_ms]

    def _find_returning(self, now_ms: int) -> _Visitor | None:
        if not self._visitors or self._rng.random() >= RETURNING_SHARE:
            return None
        visitor = self._visitors[int(self._rng.random() * len(self._visitors))]
        return visitor if visitor.seen_until_ms + SESSION_GAP_MS < now_ms else None

    def _add_visitor(self, channel: Channel, landing: Landing) -> _Visitor:
        rng = self._rng
        device, market = channel.devices.pick(rng), self._shop.markets.pick(rng)
        anonymous_id = str(UUID(int=rng.getrandbits(128), version=4))
        visitor = _Visitor(anonymous_id, device, market, landing)
        if len(self._visitors) < MAX_VISITORS:
            self._visitors.append(visitor)
        else:
            self._visitors[int(rng.random() * MAX_VISITORS)] = visitor
        return visitor

    def _continue(self, visit: "_Visit", channel: Channel) -> None:
        rng, visitor = self._rng, visit.visitor
        for _ in range(PAGES_PER_VISIT.pick(rng) - 1):
            visit.view(self._shop.next_pages.pick(rng))
        if visitor.user_id is None and rng.random() < channel.signup_rate:
            self._users += 1
            visit.sign_up(f"user_{1000 + self._users}")
        rate = CUSTOMER_PURCHASE_RATE if visitor.user_id else GUEST_PURCHASE_RATE
        if rng.random() < rate:
            self._orders += 1
            visit.buy(f"R-{100_000 + self._orders}")


class _Visit:
    """One visit and its events so far; starts with the page view of its landing."""

    def __init__(self, rng: Random, visitor: _Visitor, *, landing: Landing, starts_ms: int) -> None:
        self.visitor = visitor
        self.now_ms = starts_ms
        self.events: list[GeneratedEvent] = []
        self._rng = rng
        self._shop = load_shop()
        self._view(landing)

    def view(self, page: Page) -> None:
        self._wait()
        self._view(Landing(page, page.url, self._current.url, INTERNAL))

    def sign_up(self, user_id: str) -> None:
        self.view(self._shop.pages["register"])
        self._wait()
        self.visitor.user_id = user_id
        properties = f'{{"method":"{SIGNUP_METHODS.pick(self._rng)}"}}'
        self._add(
            SIGNUP, self.visitor.last_touch, properties=properties, event_id=f"signup-{user_id}"
        )

    def buy(self, order_id: str) -> None:
        amount_cents, items = self._fill_cart()
        self.view(self._shop.pages["cart"])
        self.view(self._shop.pages["checkout"])
        self._wait()
        properties = (
            f'{{"order_id":"{order_id}","amount_cents":{amount_cents},'
            f'"currency":"{self._shop.currency}","items":{items}}}'
        )
        self._add(PURCHASE, self.visitor.last_touch, properties=properties, event_id=order_id)
        self.view(self._shop.pages["thanks"])

    def _fill_cart(self) -> tuple[int, int]:
        """Return the amount in cents and the number of items."""
        amount_cents, items = 0, ITEMS_IN_CART.pick(self._rng)
        for _ in range(items):
            product = self._shop.bestsellers.pick(self._rng)
            self.view(product.page)
            self._wait()
            amount_cents += product.price_cents
            properties = (
                f'{{"product_id":"{product.product_id}","price_cents":{product.price_cents},'
                f'"currency":"{self._shop.currency}"}}'
            )
            self._add(ADD_TO_CART, self._current, properties=properties)
        return amount_cents, items

    def _view(self, landing: Landing) -> None:
        self._current = landing
        properties = landing.page.properties + self.visitor.page_properties
        self._add(PAGEVIEW, landing, properties=properties)

    def _wait(self) -> None:
        self.now_ms += READING_MS[self._rng.getrandbits(7)] + self._rng.getrandbits(10)

    def _add(
        self, event: str, landing: Landing, *, properties: str, event_id: str | None = None
    ) -> None:
        visitor = self.visitor
        self.events.append(
            GeneratedEvent(
                timestamp_ms=self.now_ms,
                event=event,
                event_id=event_id,
                anonymous_id=visitor.anonymous_id,
                user_id=visitor.user_id,
                url=landing.url,
                referrer=landing.referrer,
                properties=properties,
                device=visitor.device,
                country=visitor.market.country,
                attribution=landing.attribution,
            )
        )
