"""The invented shop: its pages, products, prices and the countries it sends coffee to."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product as combinations

from millimetric_mcp.demo.chance import Weighted

SITE = "https://shop.example"
CURRENCY = "eur"


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its address, and its part of a page view's properties as open JSON text."""

    path: str
    url: str
    properties: str


@dataclass(frozen=True, slots=True)
class Product:
    """Something to buy and the page it is shown on."""

    product_id: str
    price_cents: int
    page: Page


@dataclass(frozen=True, slots=True)
class Market:
    """A country and the language its visitors' browsers ask for."""

    country: str
    language: str


def _page(path: str, title: str, **properties: str | int) -> Page:
    text = json.dumps(
        {"title": f"{title} · Ridge & Rye", **properties}, ensure_ascii=False, separators=(",", ":")
    )
    return Page(path, SITE + path, text[:-1])


_ORIGINS = (
    ("ethiopia-yirgacheffe", "Ethiopia Yirgacheffe", 1490),
    ("kenya-nyeri-aa", "Kenya Nyeri AA", 1690),
    ("colombia-huila", "Colombia Huila", 1390),
    ("guatemala-antigua", "Guatemala Antigua", 1390),
    ("brazil-cerrado", "Brazil Cerrado", 1090),
    ("sumatra-mandheling", "Sumatra Mandheling", 1290),
    ("costa-rica-tarrazu", "Costa Rica Tarrazú", 1590),
    ("house-blend", "House Blend", 990),
    ("night-shift-decaf", "Night Shift Decaf", 1190),
    ("panama-geisha", "Panama Geisha", 3990),
)
_ROASTS = (("espresso", "Espresso Roast"), ("filter", "Filter Roast"))
_SIZES = (("250g", 1.0), ("500g", 1.85), ("1kg", 3.4))
_GEAR = (
    ("hand-grinder", "Hand Grinder", 8900),
    ("gooseneck-kettle", "Gooseneck Kettle", 7900),
    ("ceramic-dripper", "Ceramic Dripper", 2490),
    ("paper-filters-100", "Paper Filters, 100", 690),
    ("digital-scale", "Digital Scale", 4590),
    ("travel-press", "Travel Press", 3490),
    ("espresso-tamper", "Espresso Tamper", 2990),
    ("cupping-spoon", "Cupping Spoon", 1290),
)


def _product(number: int, slug: str, name: str, price_cents: int) -> Product:
    product_id = f"p-{1000 + number}"
    page = _page(f"/products/{slug}", name, product_id=product_id, price_cents=price_cents)
    return Product(product_id, price_cents, page)


def _list_products() -> Iterator[Product]:
    number = 0
    for (slug, name, cents), (roast, title), (size, factor) in combinations(
        _ORIGINS, _ROASTS, _SIZES
    ):
        price_cents = int(cents * factor) // 10 * 10
        yield _product(number, f"{slug}-{roast}-{size}", f"{name}, {title}, {size}", price_cents)
        number += 1
    for slug, name, cents in _GEAR:
        yield _product(number, slug, name, cents)
        number += 1


PRODUCTS = tuple(_list_products())
BESTSELLERS = Weighted([(product, 1 / (rank + 4)) for rank, product in enumerate(PRODUCTS)])

HOME = _page("/", "Coffee, roasted on Mondays")
CART = _page("/cart", "Your cart")
CHECKOUT = _page("/checkout", "Checkout")
THANKS = _page("/checkout/thanks", "Thank you")
REGISTER = _page("/account/register", "Create an account")
ACCOUNT = _page("/account/orders", "Your orders")
SUBSCRIBE = _page("/subscriptions", "Coffee by subscription")
COLLECTIONS = tuple(
    _page(f"/collections/{slug}", title)
    for slug, title in (
        ("espresso", "Espresso"),
        ("filter", "Filter coffee"),
        ("single-origin", "Single origins"),
        ("decaf", "Decaf"),
        ("brewing-gear", "Brewing gear"),
        ("gifts", "Gifts under €50"),
    )
)
ARTICLES = tuple(
    _page(f"/journal/{slug}", title)
    for slug, title in (
        ("how-to-dial-in-espresso", "How to dial in espresso"),
        ("the-water-in-your-coffee", "The water in your coffee"),
        ("pour-over-ratios", "Pour-over ratios that work"),
        ("what-washed-means", "What “washed” means on the bag"),
        ("grind-size-chart", "A grind size chart"),
        ("cold-brew-at-home", "Cold brew at home"),
        ("visiting-huila", "Visiting the growers of Huila"),
        ("storing-beans", "Storing beans, and for how long"),
    )
)

_PRODUCT_PAGES = [(item.page, 2 / (rank + 5)) for rank, item in enumerate(PRODUCTS)]
_SHELVES = [(page, 2 / (rank + 3)) for rank, page in enumerate(COLLECTIONS)]
_JOURNAL = [(page, 2 / (rank + 3)) for rank, page in enumerate(ARTICLES)]

LANDS_ANYWHERE = Weighted([(HOME, 5), (SUBSCRIBE, 0.5), *_SHELVES, *_PRODUCT_PAGES])
LANDS_ON_HOME = Weighted([(HOME, 8), (ACCOUNT, 0.5), *_SHELVES])
LANDS_ON_PRODUCTS = Weighted([*_PRODUCT_PAGES, (COLLECTIONS[0], 0.5)])
LANDS_ON_SHELVES = Weighted([*_SHELVES, (SUBSCRIBE, 1)])
LANDS_ON_JOURNAL = Weighted([*_JOURNAL, (HOME, 0.5)])
BROWSES = Weighted([(HOME, 0.8), (SUBSCRIBE, 0.3), *_SHELVES, *_PRODUCT_PAGES, *_JOURNAL[:3]])
"""Where a visit goes on after its first page."""

MARKETS = Weighted(
    [
        (Market("DE", "de-DE"), 31),
        (Market("GB", "en-GB"), 17),
        (Market("US", "en-US"), 11),
        (Market("FR", "fr-FR"), 9),
        (Market("NL", "nl-NL"), 8),
        (Market("AT", "de-AT"), 6),
        (Market("CH", "de-CH"), 5),
        (Market("SE", "sv-SE"), 4),
        (Market("IT", "it-IT"), 4),
        (Market("ES", "es-ES"), 3),
        (Market("PL", "pl-PL"), 2),
    ]
)
