"""A month of the shop's events, in order of time and the same for the same arguments.

Memory is bounded: an hour of events and a fixed number of visitors are kept.

The script on the pages sends page views, carts and sign-ups, each with the page's URL and referrer:
those of a visit's first page say where the visitor comes from. The shop's server sends purchases,
with the user's id and without a page. Who buys has an account.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from operator import attrgetter
from random import Random
from typing import NamedTuple
from uuid import UUID

from millimetric_mcp.contract.attribution import Attribution, Confidence
from millimetric_mcp.contract.validation import to_ms
from millimetric_mcp.demo.shop import Channel, Device, Landing, Market, Page, Shop, load_shop

PAGEVIEW, ADD_TO_CART, SIGNUP, PURCHASE = "$pageview", "add_to_cart", "signup", "purchase"
INTERNAL = Attribution("internal", "direct", None, Confidence.HIGH, "ref_internal")
DIRECT = Attribution("direct", "direct", None, Confidence.HIGH, "direct")
SERVER = Device(user_agent="node")
"""The shop's server."""

HOUR_MS = 3_600_000
SESSION_GAP_MS = 30 * 60_000
MAX_VISITORS = 20_000
"""How many visitors can return. When there are more, a new one replaces another."""
READING_MS = tuple(int(3_000 - 42_000 * math.log(1 - (step + 0.5) / 128)) for step in range(128))
"""Equally likely times on a page: 3 s and an exponential distribution of mean 42 s."""


class GeneratedEvent(NamedTuple):
    """One event as it is sent, and what only the generator knows about it.

    ``timestamp_ms`` is milliseconds since 1970 UTC; ``properties`` is compact JSON text. Empty
    texts are not sent. Never sent: ``device`` (but for its User-Agent), ``country``, and
    ``attribution`` and ``channel``, which the API must find.
    """

    timestamp_ms: int
    event: str
    anonymous_id: str = ""
    url: str = ""
    attribution: Attribution = DIRECT
    event_id: str | None = None
    user_id: str | None = None
    referrer: str | None = None
    properties: str = "{}"
    device: Device = Device()
    country: str = ""
    channel: str = "direct"


@dataclass(slots=True)
class _Visitor:
    anonymous_id: str
    device: Device
    market: Market
    user_id: str | None = None
    seen_until_ms: int = 0


def generate(
    *,
    seed: int,
    end: datetime,
    events: int,
    days: int = 30,
    returning_share: float | None = None,
) -> Iterator[GeneratedEvent]:
    """Yield exactly ``events`` events of the ``days`` before ``end`` (exclusive), oldest first.

    ``returning_share``, 0 to 1, is that of visits by visitors who came before; by default the
    shop's.
    """
    rng = Random(seed)  # noqa: S311 - the data must repeat
    visits = _Visits(rng, until_ms=to_ms(end), returning_share=returning_share)
    created, get_time = 0, attrgetter("timestamp_ms")
    waiting: list[GeneratedEvent] = []
    for hour, events_until in _plan_hours(end=end, events=events, days=days):
        while created < events_until:
            visit = visits.create(hour)[: events - created]
            created += len(visit)
            waiting += visit
        waiting.sort(key=get_time)
        ready = bisect_left(waiting, to_ms(hour) + HOUR_MS, key=get_time)
        yield from waiting[:ready]
        del waiting[:ready]


def _plan_hours(*, end: datetime, events: int, days: int) -> Iterator[tuple[datetime, int]]:
    """Yield each hour's start, and how many events of the month there are by its end."""
    traffic, start = load_shop().traffic, end.astimezone(UTC) - timedelta(days=days)
    hours = [start + timedelta(hours=number) for number in range(24 * days)]
    totals = list(
        accumulate(
            traffic["hour_weights"][hour.hour]
            * traffic["weekday_weights"][hour.weekday()]
            * (1 + traffic["growth"] * number / len(hours))
            for number, hour in enumerate(hours)
        )
    )
    for hour, total in zip(hours, totals, strict=True):
        yield hour, round(events * total / totals[-1])


class _Visits:
    """Creates visits and remembers the visitors."""

    def __init__(self, rng: Random, *, until_ms: int, returning_share: float | None) -> None:
        self._rng = rng
        self._until_ms = until_ms
        self._shop = load_shop()
        shops = self._shop.traffic["returning_share"]
        self._returning_share = shops if returning_share is None else returning_share
        self._visitors: list[_Visitor] = []
        self._users = 0
        self._orders = 0
        self._channels = {
            (returning, weekday): self._shop.weigh_channels(returning=returning, weekday=weekday)
            for returning in (False, True)
            for weekday in range(7)
        }

    def create(self, hour: datetime) -> list[GeneratedEvent]:
        """Return the events of one visit that begins in ``hour``, none after the month's end."""
        rng, until_ms = self._rng, self._until_ms
        starts_ms = min(to_ms(hour) + int(rng.random() * HOUR_MS), until_ms - 1)
        visitor = self._find_returning(starts_ms)
        channel = self._channels[visitor is not None, hour.weekday()].pick(rng)
        landing = channel.land(rng, hour.date())
        if visitor is None:
            visitor = self._add_visitor(channel)
        visit = _Visit(rng, self._shop, visitor, now_ms=starts_ms, current=landing)
        visit.open(landing)
        self._continue(visit, channel)
        visitor.seen_until_ms = visit.now_ms
        return [event for event in visit.events if event.timestamp_ms < until_ms]

    def _find_returning(self, now_ms: int) -> _Visitor | None:
        if not self._visitors or self._rng.random() >= self._returning_share:
            return None
        visitor = self._visitors[int(self._rng.random() * len(self._visitors))]
        return visitor if visitor.seen_until_ms + SESSION_GAP_MS < now_ms else None

    def _add_visitor(self, channel: Channel) -> _Visitor:
        rng = self._rng
        device, market = channel.devices.pick(rng), self._shop.markets.pick(rng)
        anonymous_id = str(UUID(int=rng.getrandbits(128), version=4))
        visitor = _Visitor(anonymous_id, device, market)
        if len(self._visitors) < MAX_VISITORS:
            self._visitors.append(visitor)
        else:
            self._visitors[int(rng.random() * MAX_VISITORS)] = visitor
        return visitor

    def _continue(self, visit: "_Visit", channel: Channel) -> None:
        rng, visitor = self._rng, visit.visitor
        for _ in range(self._shop.pages_per_visit.pick(rng) - 1):
            visit.view(self._shop.next_pages.pick(rng))
        if visitor.user_id is None and rng.random() < channel.signup_rate:
            self._sign_up(visit)
        traffic = self._shop.traffic
        rate = "user_cart_rate" if visitor.user_id else "guest_cart_rate"
        if rng.random() >= traffic[rate]:
            return
        prices_cents = visit.fill_cart()
        if rng.random() < traffic["checkout_rate"]:
            if visitor.user_id is None:
                self._sign_up(visit)
            self._orders += 1
            visit.buy(prices_cents, f"R-{100_000 + self._orders}")

    def _sign_up(self, visit: "_Visit") -> None:
        self._users += 1
        visit.sign_up(f"user_{1000 + self._users}")


@dataclass(slots=True)
class _Visit:
    """One visit and its events so far."""

    rng: Random
    shop: Shop
    visitor: _Visitor
    now_ms: int
    current: Landing
    """The page that the visitor is on."""
    events: list[GeneratedEvent] = field(default_factory=list)

    def view(self, page: Page) -> None:
        self._wait()
        self.open(Landing(page, page.url, self.current.url, INTERNAL, "internal"))

    def sign_up(self, user_id: str) -> None:
        self.view(self.shop.pages["register"])
        self._wait()
        self.visitor.user_id = user_id
        properties = f'{{"method":"{self.shop.signup_methods.pick(self.rng)}"}}'
        self._add(SIGNUP, properties=properties, event_id=f"signup-{user_id}")

    def fill_cart(self) -> list[int]:
        """Return the prices of the products, in cents."""
        prices_cents = []
        for _ in range(self.shop.items_in_cart.pick(self.rng)):
            product = self.shop.bestsellers.pick(self.rng)
            self.view(product.page)
            self._wait()
            prices_cents.append(product.price_cents)
            properties = (
                f'{{"product_id":"{product.product_id}","price_cents":{product.price_cents},'
                f'"currency":"{self.shop.currency}"}}'
            )
            self._add(ADD_TO_CART, properties=properties)
        self.view(self.shop.pages["cart"])
        return prices_cents

    def buy(self, prices_cents: Sequence[int], order_id: str) -> None:
        self.view(self.shop.pages["checkout"])
        self._wait()
        properties = (
            f'{{"order_id":"{order_id}","amount_cents":{sum(prices_cents)},'
            f'"currency":"{self.shop.currency}","items":{len(prices_cents)}}}'
        )
        self.events.append(
            GeneratedEvent(
                timestamp_ms=self.now_ms,
                event=PURCHASE,
                event_id=order_id,
                user_id=self.visitor.user_id,
                properties=properties,
                device=SERVER,
            )
        )
        self.view(self.shop.pages["thanks"])

    def open(self, landing: Landing) -> None:
        """Add the page view of ``landing``."""
        self.current = landing
        language, screen = self.visitor.market.language, self.visitor.device.screen
        properties = f'{landing.page.properties},"lang":"{language}","screen":"{screen}"}}'
        self._add(PAGEVIEW, properties=properties)

    def _wait(self) -> None:
        self.now_ms += READING_MS[self.rng.getrandbits(7)] + self.rng.getrandbits(10)

    def _add(self, event: str, *, properties: str, event_id: str | None = None) -> None:
        """Add an event of the page that the visitor is on."""
        visitor, landing = self.visitor, self.current
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
                channel=landing.channel,
            )
        )
