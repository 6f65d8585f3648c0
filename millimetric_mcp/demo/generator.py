"""A month of the shop's events, in the order of time, the same for the same arguments.

Nothing is read and nothing is kept: memory is bounded by an hour of events and a fixed
number of remembered visitors, so ten million events stream like ten thousand.

The shop is instrumented well: a page view carries its own URL and referrer; a sign-up and
a purchase re-send those of the visitor's last landing that was not a direct one, which is
what an SDK keeps in a cookie. Attribution is per event, so this is how a conversion finds
its campaign.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from operator import attrgetter
from random import Random
from typing import NamedTuple

from millimetric_mcp.contract.attribution import Attribution
from millimetric_mcp.demo.chance import Weighted, exponential_steps, make_uuid
from millimetric_mcp.demo.channels import DIRECT, INTERNAL, Arrival, Channel, mix_channels
from millimetric_mcp.demo.devices import Device
from millimetric_mcp.demo.shop import (
    BESTSELLERS,
    BROWSES,
    CART,
    CHECKOUT,
    CURRENCY,
    MARKETS,
    REGISTER,
    THANKS,
    Market,
    Page,
)

PAGEVIEW, ADD_TO_CART, SIGNUP, PURCHASE = "$pageview", "add_to_cart", "signup", "purchase"

HOUR_MS = 3_600_000
HOUR_WEIGHTS = (
    *(1.1, 0.7, 0.5, 0.4, 0.5, 0.9, 1.8, 3.0, 3.9, 4.4, 4.6, 4.7),
    *(5.0, 4.9, 4.6, 4.6, 4.9, 5.4, 6.2, 7.0, 7.2, 6.2, 4.4, 2.4),
)
"""The shop's day in UTC: quiet at night, busiest after supper."""
WEEKDAY_WEIGHTS = (1.06, 1.02, 1.0, 1.04, 0.94, 0.82, 1.12)
"""Monday to Sunday: people shop less on Saturdays and make up for it on Sundays."""
GROWTH = 0.2
"""How much busier the last day is than the first."""

KNOWN_SHARE = 0.36
REMEMBERED_VISITORS = 20_000
PAUSE_MS = 30 * 60_000
CUSTOMER_PURCHASE_RATE, GUEST_PURCHASE_RATE = 0.11, 0.014
PAGES_A_VISIT = Weighted(
    [(1, 44), (2, 17), (3, 11), (4, 8), (5, 6), (6, 4), (7, 3), (8, 2.5), (10, 2), (14, 1.5)]
)
READING_MS = tuple(int(3_000 + 1_000 * step) for step in exponential_steps(mean=42, steps=128))
SIGNUP_METHODS = Weighted([("email", 62), ("google", 27), ("apple", 11)])
ITEMS_IN_CART = Weighted([(1, 62), (2, 25), (3, 9), (4, 4)])


class GeneratedEvent(NamedTuple):
    """One event as it is sent, and what only the generator knows of it.

    ``timestamp_ms`` counts milliseconds since 1970 UTC; ``properties`` is compact JSON text.
    ``device`` goes into the request's User-Agent; ``country`` is where the visitor is and
    ``attribution`` what a right classifier says: neither is ever sent.
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
    properties: str
    touch: Arrival
    user_id: str | None = None
    seen_until_ms: int = 0


@dataclass(frozen=True, slots=True)
class _Hour:
    starts_ms: int
    ends_ms: int
    day: date
    events_until: int


def generate(*, seed: int, end: datetime, events: int, days: int = 30) -> Iterator[GeneratedEvent]:
    """Exactly ``events`` events of the ``days`` before ``end`` (exclusive), oldest first."""
    shop = _Shop(Random(seed))  # noqa: S311 - the same data every time is the point
    made = 0
    waiting: list[GeneratedEvent] = []
    for hour in _plan_hours(end=end, events=events, days=days):
        while made < hour.events_until:
            visit = shop.visit(hour, until_ms=_to_ms(end))[: events - made]
            made += len(visit)
            waiting += visit
        waiting.sort(key=_when)
        ready = bisect_left(waiting, hour.ends_ms, key=_when)
        yield from waiting[:ready]
        del waiting[:ready]


_when = attrgetter("timestamp_ms")


def _to_ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _plan_hours(*, end: datetime, events: int, days: int) -> Iterator[_Hour]:
    """The month's hours with how many events there are by the end of each."""
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
        starts_ms = _to_ms(hour)
        until = round(events * total / totals[-1])
        yield _Hour(starts_ms, starts_ms + HOUR_MS, hour.date(), until)


class _Shop:
    """Who has been here and what happens next: all the state there is."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._visitors: list[_Visitor] = []
        self._customers = 0
        self._orders = 0
        self._mixes = {
            (known, weekday): mix_channels(known=known, weekday=weekday)
            for known in (False, True)
            for weekday in range(7)
        }

    def visit(self, hour: _Hour, *, until_ms: int) -> list[GeneratedEvent]:
        """One visit that begins in ``hour``; what would happen at ``until_ms`` or later doesn't."""
        starts_ms = min(hour.starts_ms + int(self._rng.random() * HOUR_MS), until_ms - 1)
        visitor = self._find_known(starts_ms)
        mix = self._mixes[visitor is not None, hour.day.weekday()]
        channel = mix.pick(self._rng)
        landing = channel.land(self._rng, hour.day)
        if visitor is None:
            visitor = self._welcome(channel, landing)
        elif landing.attribution is not DIRECT:
            visitor.touch = landing
        visit = _Visit(self._rng, visitor, landing=landing, starts_ms=starts_ms)
        self._walk(visit, channel)
        visitor.seen_until_ms = visit.now_ms
        if visit.now_ms < until_ms:
            return visit.events
        return [event for event in visit.events if event.timestamp_ms < until_ms]

    def _find_known(self, now_ms: int) -> _Visitor | None:
        if not self._visitors or self._rng.random() >= KNOWN_SHARE:
            return None
        visitor = self._visitors[int(self._rng.random() * len(self._visitors))]
        return visitor if visitor.seen_until_ms + PAUSE_MS < now_ms else None

    def _welcome(self, channel: Channel, landing: Arrival) -> _Visitor:
        rng = self._rng
        device, market = channel.devices.pick(rng), MARKETS.pick(rng)
        properties = f',"lang":"{market.language}","screen":"{device.screen}"}}'
        visitor = _Visitor(make_uuid(rng), device, market, properties, landing)
        if len(self._visitors) < REMEMBERED_VISITORS:
            self._visitors.append(visitor)
        else:
            self._visitors[int(rng.random() * REMEMBERED_VISITORS)] = visitor
        return visitor

    def _walk(self, visit: "_Visit", channel: Channel) -> None:
        rng, visitor = self._rng, visit.visitor
        for _ in range(PAGES_A_VISIT.pick(rng) - 1):
            visit.view(BROWSES.pick(rng))
        if visitor.user_id is None and rng.random() < channel.signup_rate:
            self._customers += 1
            visit.sign_up(f"user_{1000 + self._customers}")
        rate = CUSTOMER_PURCHASE_RATE if visitor.user_id else GUEST_PURCHASE_RATE
        if rng.random() < rate:
            self._orders += 1
            visit.buy(f"R-{100_000 + self._orders}")


class _Visit:
    """One visit being written down, from its first page on."""

    def __init__(self, rng: Random, visitor: _Visitor, *, landing: Arrival, starts_ms: int) -> None:
        self.visitor = visitor
        self.now_ms = starts_ms
        self.events: list[GeneratedEvent] = []
        self._rng = rng
        self._here = landing
        self._write(PAGEVIEW, landing, properties=landing.page.properties + visitor.properties)

    def view(self, page: Page) -> None:
        self._read_on()
        self._here = Arrival(page, page.url, self._here.url, INTERNAL)
        self._write(PAGEVIEW, self._here, properties=page.properties + self.visitor.properties)

    def sign_up(self, user_id: str) -> None:
        self.view(REGISTER)
        self._read_on()
        self.visitor.user_id = user_id
        properties = f'{{"method":"{SIGNUP_METHODS.pick(self._rng)}"}}'
        self._write(SIGNUP, self.visitor.touch, properties=properties, event_id=f"signup-{user_id}")

    def buy(self, order_id: str) -> None:
        amount_cents, items = self._fill_cart()
        self.view(CART)
        self.view(CHECKOUT)
        self._read_on()
        properties = (
            f'{{"order_id":"{order_id}","amount_cents":{amount_cents},'
            f'"currency":"{CURRENCY}","items":{items}}}'
        )
        self._write(PURCHASE, self.visitor.touch, properties=properties, event_id=order_id)
        self.view(THANKS)

    def _fill_cart(self) -> tuple[int, int]:
        amount_cents, items = 0, ITEMS_IN_CART.pick(self._rng)
        for _ in range(items):
            product = BESTSELLERS.pick(self._rng)
            self.view(product.page)
            self._read_on()
            amount_cents += product.price_cents
            properties = (
                f'{{"product_id":"{product.product_id}","price_cents":{product.price_cents},'
                f'"currency":"{CURRENCY}"}}'
            )
            self._write(ADD_TO_CART, self._here, properties=properties)
        return amount_cents, items

    def _read_on(self) -> None:
        self.now_ms += READING_MS[self._rng.getrandbits(7)] + self._rng.getrandbits(10)

    def _write(
        self, event: str, arrival: Arrival, *, properties: str, event_id: str | None = None
    ) -> None:
        visitor = self.visitor
        self.events.append(
            GeneratedEvent(
                self.now_ms,
                event,
                event_id,
                visitor.anonymous_id,
                visitor.user_id,
                arrival.url,
                arrival.referrer,
                properties,
                visitor.device,
                visitor.market.country,
                arrival.attribution,
            )
        )
