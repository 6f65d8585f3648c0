"""Finds the network of a referrer's host in the tables in ``api/data``.

They are read when the first referrer is looked up.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from importlib import resources
from typing import Any, NamedTuple

from millimetric_mcp.api.ingest.address import Address, registrable_domain


class Kind(StrEnum):
    """The kind of a network; PLAIN hosts are none of the others."""

    SEARCH = "search"
    SOCIAL = "social"
    EMAIL = "email"
    AI = "ai"
    ADS = "ads"
    PLAIN = "plain"


class Listing(NamedTuple):
    """An entry of the tables, and the network that it belongs to."""

    kind: Kind
    name: str
    entry: str
    alone: bool = False
    """The entry is for this host (and its www.) only, not for hosts below it."""

    @property
    def source(self) -> str:
        """Return the source of the network's visits: its name, or "email" for all of e-mail."""
        return "email" if self.kind is Kind.EMAIL else self.name


@dataclass(frozen=True, slots=True)
class NetworkTable:
    """All entries of the data files."""

    hosts: Mapping[str, Listing]
    first_labels: Mapping[str, Listing]
    apps: Mapping[str, Listing]
    app_aliases: Mapping[str, Listing]
    """Packages without their first part: ``linkedin.android``."""
    pages: Mapping[str, tuple[tuple[str, Listing], ...]]
    """Path prefixes, by host, that belong to another network than their host."""

    def host_listing(self, host: str) -> Listing | None:
        """Return the entry of the most specific listed host at or above ``host``."""
        bare = host.removeprefix("www.")
        exact = self.hosts.get(host) or self.hosts.get(bare)
        if exact is not None:
            return exact
        first_label, dot, above = bare.partition(".")
        while dot:
            listing = self.hosts.get(above)
            if listing is not None and not listing.alone:
                return listing
            _, dot, above = above.partition(".")
        listing = self.first_labels.get(first_label)
        directly = listing is not None and bare == f"{first_label}.{registrable_domain(bare)}"
        return listing if directly else None

    def page_listing(self, host: str, path: str) -> Listing | None:
        """Return the entry of a page that belongs to another network than its host."""
        for prefix, listing in self.pages.get(host.removeprefix("www."), ()):
            if path == prefix or path.startswith(prefix + "/"):
                return listing
        return None


def find_listing(address: Address) -> Listing | None:
    """Return the entry of an address, or None.

    ``android-app://`` names a package, and from some apps an alias or a website; a package may
    also stand alone, without a scheme.
    """
    table, host = load_networks(), address.host
    if address.scheme in {"android-app", ""} and host in table.apps:
        return table.apps[host]
    if address.scheme == "android-app":
        return table.app_aliases.get(host) or _listing_of_host(host)
    listing = _listing_of_host(host)
    if len(address.path) > 1:
        listing = table.page_listing(host, address.path) or listing
    return listing


@cache
def load_networks() -> NetworkTable:
    """Read the tables of every data file, once."""
    hosts: dict[str, Listing] = {}
    first_labels: dict[str, Listing] = {}
    apps: dict[str, Listing] = {}
    app_aliases: dict[str, Listing] = {}
    pages: dict[str, tuple[tuple[str, Listing], ...]] = {}
    for kind in Kind:
        tables = _read_tables(kind)
        for name, entry in _entries(tables, "only"):
            hosts[entry] = Listing(kind, name, entry, alone=True)
        for name, entry in _entries(tables, "below"):
            hosts[entry] = Listing(kind, name, entry)
        for name, entry in _entries(tables, "first_label"):
            first_labels[entry] = Listing(kind, name, f"{entry}.")
        for name, entry in _entries(tables, "android"):
            listing = Listing(kind, name, f"android-app://{entry}")
            apps[entry.lower()] = listing
            app_aliases[entry.lower().partition(".")[2]] = listing
        for name, entry in _entries(tables, "pages"):
            host, _, path = entry.partition("/")
            pages[host] = (*pages.get(host, ()), (f"/{path}", Listing(kind, name, entry)))
    return NetworkTable(
        hosts=hosts, first_labels=first_labels, apps=apps, app_aliases=app_aliases, pages=pages
    )


@cache
def list_sources(kind: Kind) -> frozenset[str]:
    """Return the sources of a kind's networks."""
    table = load_networks()
    pages = (listing for entries in table.pages.values() for _, listing in entries)
    listings = (*table.hosts.values(), *table.first_labels.values(), *table.apps.values(), *pages)
    return frozenset(listing.source for listing in listings if listing.kind is kind)


def _read_tables(kind: Kind) -> dict[str, Any]:
    file = resources.files("millimetric_mcp.api") / "data" / f"{kind}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _entries(tables: Mapping[str, Any], section: str) -> Iterator[tuple[str, str]]:
    """Yield a section's networks and entries; ``google.{google}`` becomes one entry per ending."""
    endings: Mapping[str, str] = tables.get("endings", {})
    for name, entries in tables.get(section, {}).items():
        for entry in entries:
            before, brace, rest = entry.partition("{")
            if not brace:
                yield name, entry
                continue
            ending_name, _, after = rest.partition("}")
            for ending in endings[ending_name].split():
                yield name, f"{before}{ending}{after}"


@lru_cache(maxsize=8192)
def _listing_of_host(host: str) -> Listing | None:
    return load_networks().host_listing(host)
