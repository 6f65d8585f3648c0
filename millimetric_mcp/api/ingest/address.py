"""What the classifier reads of an address: its host, its scheme and its query.

Addresses come from strangers, so nothing here raises: what can't be read is absent. The
parts a browser would see are found by the WHATWG rules as far as they matter here (user
names, ports, backslashes, IDNs in their ASCII form), at a fraction of a full parser's cost.
"""

import ipaddress
import re
from collections.abc import Container
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, unquote_plus

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

MAX_HOST_LENGTH = 253
"""Longest name the DNS can hold; nothing longer is a host, nor worth a place in a cache."""

_ABSOLUTE = re.compile(
    r"[\x00-\x20]*"
    r"(?:([A-Za-z][A-Za-z0-9+.\-]*):)?[/\\]{2}"  # scheme; //host is legal without one
    r"(?:[^/\\?#]*@)?"  # user name, which may itself look like a host
    r"(\[[^\]/\\?#@]*\]|[^/\\?#:@\[\]]*)"
    r"(?::[^/\\?#@]*)?"  # port: a wrong one does not make the host less certain
    r"(?=[/\\?#]|\Z)"
    r"([^?#]*)"
)
# People and programs write "shop.example/?gclid=1": a dot and nothing of a scheme make a host.
_BARE = re.compile(r"[\x00-\x20]*([^/\\?#@:\s]++)(?::\d+)?(?=[/\\?#]|\s*\Z)([^?#]*)")
_ASCII_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_UNSTORABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Address(NamedTuple):
    """A readable address; ``scheme`` is "" where it was left out, ``path`` as written."""

    scheme: str
    host: str
    path: str


def read_address(text: str) -> Address | None:
    """The parts of ``text``, or None where no host can be made out."""
    found = _ABSOLUTE.match(text)
    if found is not None:
        scheme, raw_host, path = found.groups(default="")
    else:
        found = _BARE.match(text)
        if found is None or "." not in found[1]:
            return None
        scheme, (raw_host, path) = "", found.groups()
    if not raw_host or len(raw_host) > MAX_HOST_LENGTH:
        return None
    host = _canonical_host(raw_host)
    return None if host is None else Address(scheme.lower(), host, path)


def host_of(url: str | None) -> str | None:
    """The host of ``url`` in its one canonical form, or None.

    Lower case, IDNs in ASCII, IPv6 in brackets; no user name, port or trailing dot; a
    leading ``www.`` stays.
    """
    address = read_address(url) if url else None
    return None if address is None else address.host


@lru_cache(maxsize=8192)
def registrable_domain(host: str) -> str:
    """The part of ``host`` that its owner registered, by the public suffix list.

    An address, a single label and a public suffix stand for themselves.
    """
    if host.startswith("[") or host.rpartition(".")[2].isdigit():
        return host
    return _public_suffixes().privatesuffix(host) or host


@cache
def _public_suffixes() -> "PublicSuffixList":
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415  read at the first need only

    return PublicSuffixList()


def read_parameters(url: str, names: Container[str]) -> dict[str, str]:
    """The query parameters of ``url`` among the lower-case ``names``, decoded and trimmed.

    Names match in any case, the first one with a value counts, and ``&`` alone separates.
    The fragment is no part of the query. Values can be stored anywhere: control characters
    are dropped, and what is no text (a broken percent code, half a surrogate pair) is U+FFFD.
    """
    found: dict[str, str] = {}
    query = url.partition("#")[0].partition("?")[2]
    if not query:
        return found
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if "%" in name:
            name = unquote(name)
        name = name.lower()
        if value and name in names and name not in found and (value := _readable(value)):
            found[name] = value
    return found


def _readable(value: str) -> str:
    if "%" in value or "+" in value:
        value = unquote_plus(value)
    if not value.isprintable():
        value = _SURROGATE.sub("\ufffd", _UNSTORABLE.sub("", value))
    return value.strip()


@lru_cache(maxsize=8192)
def _canonical_host(raw: str) -> str | None:
    host = raw.lower().removesuffix(".")
    if _ASCII_HOST.fullmatch(host):
        return host
    return _canonical_ipv6(host) if host.startswith("[") else _canonical_idn(host)


def _canonical_ipv6(host: str) -> str | None:
    try:
        return f"[{ipaddress.IPv6Address(host[1:-1].partition('%')[0]).compressed}]"
    except ValueError:
        return None


def _canonical_idn(host: str) -> str | None:
    """ASCII form of an internationalised host: what browsers send in a referrer."""
    try:
        ascii_host = unquote(host).encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        return None
    return ascii_host if _ASCII_HOST.fullmatch(ascii_host) else None
