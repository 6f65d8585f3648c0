"""The invented shop: its pages and products, its visitors' devices, and its traffic channels.

The data is in ``data/*.toml``.
"""

import json
import re
import tomllib
from base64 import urlsafe_b64encode
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from itertools import accumulate, product
from random import Random
from typing import Any, Generic, NamedTuple, TypeVar

from millimetric_mcp.contract.attribution import Attribution
from millimetric_mcp.contract.rules import RULES

T = TypeVar("T")


class Weighted(Generic[T]):
    """Values with a weight each; values of weight 0 are left out, one must be above 0."""

    def __init__(self, choices: Iterable[tuple[T, float]]) -> None:
        kept = [(value, weight) for value, weight in choices if weight > 0]
        self.values = tuple(value for value, _ in kept)
        self._bounds = tuple(accumulate(weight for _, weight in kept))

    def pick(self, rng: Random) -> T:
        """Return one value; a value of twice the weight comes twice as often."""
        # Only random() and getrandbits() give the same numbers on every version of Python.
        return self.values[bisect(self._bounds, rng.random() * self._bounds[-1])]


class Page(NamedTuple):
    """A page of the shop; ``properties`` is JSON text of a page view's, without the last brace."""

    url: str
    properties: str


class Product(NamedTuple):
    """A product and its page."""

    product_id: str
    price_cents: int
    page: Page


class Market(NamedTuple):
    """A country, and the language of its visitors' browsers."""

    country: str
    language: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Device:
    """A browser on a device; empty strings are unknown.

    ``everyone`` and ``phones`` weigh it among all visitors and those from an app's feed.
    """

    user_agent: str = ""
    screen: str = ""
    device_type: str = ""
    browser: str = ""
    os: str = ""
    everyone: float = 0
    phones: float = 0


class Landing(NamedTuple):
    """A page view's URL and referrer, and the attribution that the API must find in them."""

    page: Page
    url: str
    referrer: str | None
    attribution: Attribution
    channel: str
    """The API's word for the attribution's source and medium."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One way to reach the shop; ``new`` and ``returning`` weigh visits of such visitors.

    ``query``, ``referrer`` and the campaign may hold ``{names}`` of `_PLACEHOLDERS`.
    """

    attribution: Attribution
    channel: str
    landing_pages: Weighted[Page]
    devices: Weighted[Device]
    new: float
    returning: float
    query: str = ""
    referrer: str | None = None
    signup_rate: float = 0.05
    mailing: bool = False

    def land(self, rng: Random, day: date) -> Landing:
        """Return the first page view of one visit through this channel."""

        def fill(text: str) -> str:
            return re.sub(r"{(\w+)}", lambda found: _PLACEHOLDERS[found[1]](rng, day), text)

        page, query = self.landing_pages.pick(rng), fill(self.query)
        campaign = self.attribution.campaign and fill(self.attribution.campaign)
        return Landing(
            page,
            f"{page.url}?{query}" if query else page.url,
            self.referrer and fill(self.referrer),
            self.attribution._replace(campaign=campaign),
            self.channel,
        )


def make_token(rng: Random, length: int) -> str:
    """Return ``length`` random characters of the URL-safe alphabet."""
    size_bytes = length * 3 // 4 + 1
    raw = rng.getrandbits(8 * size_bytes).to_bytes(size_bytes, "big")
    return urlsafe_b64encode(raw)[:length].decode()


_PLACEHOLDERS: dict[str, Callable[[Random, date], str]] = {
    "fbclid": lambda rng, _: f"IwY2xjaw{make_token(rng, 62)}_aem_{make_token(rng, 22)}",
    "gclid": lambda rng, _: f"Cj0KCQjw{make_token(rng, 76)}_wcB",
    "click_id": lambda rng, _: f"{rng.getrandbits(128):032x}",
    "short_link": lambda rng, _: make_token(rng, 10).replace("-", "x").replace("_", "Q"),
    "week": lambda _, day: f"{day:%Gw%V}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What visitors see, and how they come; ``next_pages`` follow a visit's first page."""

    currency: str
    pages: Mapping[str, Page]
    next_pages: Weighted[Page]
    bestsellers: Weighted[Product]
    markets: Weighted[Market]
    channels: tuple[Channel, ...]
    traffic: Mapping[str, Any]
    """The numbers under ``[traffic]`` in ``data/shop.toml``."""
    pages_per_visit: Weighted[int]
    items_in_cart: Weighted[int]
    signup_methods: Weighted[str]

    def weigh_channels(self, *, returning: bool, weekday: int) -> Weighted[Channel]:
        """Return the channels with their weights among a weekday's visits; Monday is 0."""
        is_mailing_day = weekday in self.traffic["mailing_weekdays"]
        factor = self.traffic["mailing_factor"] if is_mailing_day else 1.0
        return Weighted(
            (each, (each.returning if returning else each.new) * (factor if each.mailing else 1.0))
            for each in self.channels
        )


@cache
def load_shop() -> Shop:
    """Return the shop of the data files."""
    data = _read_toml("shop.toml")
    pages = {name: _make_page(data, path, title) for name, (path, title) in data["pages"].items()}
    products = list(_list_products(data))
    landing_pages, next_pages = _weigh_pages(data, pages, products)
    markets = data["markets"].items()
    return Shop(
        currency=data["currency"],
        pages=pages,
        next_pages=next_pages,
        bestsellers=Weighted((item, 1 / (rank + 4)) for rank, item in enumerate(products)),
        markets=Weighted((Market(name, language), weight) for name, (language, weight) in markets),
        channels=tuple(_load_channels(landing_pages)),
        traffic=data["traffic"],
        **{name: Weighted(choices) for name, choices in data["choices"].items()},
    )


def _read_toml(name: str) -> dict[str, Any]:
    file = resources.files("millimetric_mcp.demo") / "data" / name
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _make_page(data: Mapping[str, Any], path: str, title: str, **properties: str | int) -> Page:
    fields = {"title": f"{title} · {data['name']}", **properties}
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return Page(data["site"] + path, text[:-1])


def _list_products(data: Mapping[str, Any]) -> Iterator[Product]:
    coffees = [
        (f"{slug}-{roast}-{size}", f"{name}, {title}, {size}", int(cents * factor) // 10 * 10)
        for (slug, (name, cents)), (roast, title), (size, factor) in product(
            data["coffees"].items(), data["roasts"].items(), data["sizes"].items()
        )
    ]
    gear = [(slug, name, cents) for slug, (name, cents) in data["gear"].items()]
    for number, (slug, name, cents) in enumerate([*coffees, *gear], start=1000):
        properties = {"product_id": f"p-{number}", "price_cents": cents}
        page = _make_page(data, f"/products/{slug}", name, **properties)
        yield Product(f"p-{number}", cents, page)


def _weigh_pages(
    data: Mapping[str, Any], pages: Mapping[str, Page], products: Iterable[Product]
) -> tuple[dict[str, Weighted[Page]], Weighted[Page]]:
    """Return the landing pages by group, and the pages that follow; the first weigh most."""
    home, subscribe = pages["home"], pages["subscribe"]
    collections, journal = (
        [
            (_make_page(data, f"/{section}/{slug}", title), 2 / (rank + 3))
            for rank, (slug, title) in enumerate(data[section].items())
        ]
        for section in ("collections", "journal")
    )
    shown = [(item.page, 2 / (rank + 5)) for rank, item in enumerate(products)]
    groups = {
        "any": Weighted([(home, 5), (subscribe, 0.5), *collections, *shown]),
        "home": Weighted([(home, 8), (pages["account"], 0.5), *collections]),
        "products": Weighted([*shown, (collections[0][0], 0.5)]),
        "collections": Weighted([*collections, (subscribe, 1)]),
        "journal": Weighted([*journal, (home, 0.5)]),
    }
    following = [(home, 0.8), (subscribe, 0.3), *collections, *shown, *journal[:3]]
    return groups, Weighted(following)


def _load_channels(landing_pages: Mapping[str, Weighted[Page]]) -> Iterator[Channel]:
    devices = [Device(**row) for row in _read_toml("devices.toml")["devices"]]
    audiences = {
        name: Weighted((device, getattr(device, name)) for device in devices)
        for name in ("everyone", "phones")
    }
    confidence = {rule.rule_id: rule.confidence for rule in RULES}
    for row in _read_toml("channels.toml")["channels"]:
        source, medium, rule_id = row.pop("source"), row.pop("medium"), row.pop("rule_id")
        campaign = row.pop("campaign", None)
        yield Channel(
            attribution=Attribution(source, medium, campaign, confidence[rule_id], rule_id),
            landing_pages=landing_pages[row.pop("lands_on", "any")],
            devices=audiences[row.pop("devices", "everyone")],
            **row,
        )
