"""The parts of a URL that the classifier needs: scheme, host, path and query.

Nothing here raises: invalid parts are absent. Parts are found by the WHATWG rules that matter
here (user names, ports, backslashes, international names); a full parser costs much more.
"""

import ipaddress
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, unquote_plus

from idna import IDNAError, uts46_remap

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

MAX_HOST_LENGTH = 253
MAX_LABEL_LENGTH = 63

_ABSOLUTE = re.compile(
    r"[\x00-\x20]*"
    r"(?:([A-Za-z][A-Za-z0-9+.\-]*):)?[/\\]{2}"  # scheme; //host is legal without one
    r"(?:[^/\\?#]*@)?"  # user name, which may look like a host
    r"(\[[^\]/\\?#@]*\]|[^/\\?#:@\[\]]*)"
    r"(?::[^/\\?#@]*)?"  # port, even an invalid one
    r"(?=[/\\?#]|\Z)"
    r"([^?#]*)"
)
# "shop.example/?gclid=1": without a scheme, a name with a dot is a host.
_BARE = re.compile(r"[\x00-\x20]*([^/\\?#@:\s]++)(?::\d+)?(?=[/\\?#]|\s*\Z)([^?#]*)")
_ASCII_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
# & written for HTML, once or twice: &amp; &#038; &amp;amp;
_ESCAPED_AMPERSAND = re.compile(r"([?&])(?:(?:amp|#0*38|#x0*26)(?:;|%3B))+", re.IGNORECASE)
# What an ad network or mail tool did not replace: {{campaign.name}}, {keyword}_{device},
# __CAMPAIGN_ID__, %%SITE%%, *|CAMPAIGN|*
_MACROS = re.compile(
    r"\$?(?:\{++[^{}]*+\}++[^{}a-z0-9]*+)++|__[\w.:|-]+__|\*\|[^|]+\|\*|%%[^%]+%%", re.IGNORECASE
)
_MACRO_ENDS = ("}", "__", "|*", "%%")
_UNSTORABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Address(NamedTuple):
    """A URL with a host; ``scheme`` is empty if it was left out, ``path`` is as written."""

    scheme: str
    host: str
    path: str


def read_address(text: str) -> Address | None:
    """Parse a URL; None if it has no valid host."""
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
    """Return the host of ``url`` in canonical form, or None.

    Lower case, international names in ASCII, IPv6 in brackets; without user name, port and
    trailing dot; a leading ``www.`` stays.
    """
    address = read_address(url) if url else None
    return None if address is None else address.host


@lru_cache(maxsize=8192)
def registrable_domain(host: str) -> str:
    """Return the part of ``host`` that its owner registered, by the public suffix list.

    IP addresses, single labels and public suffixes are returned unchanged.
    """
    if host.startswith("[") or host.rpartition(".")[2].isdigit():
        return host
    return _public_suffixes().privatesuffix(host) or host


@cache
def _public_suffixes() -> "PublicSuffixList":
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415 - slow

    return PublicSuffixList()


def read_parameters(url: str, names: frozenset[str]) -> dict[str, str]:
    """Return the parameters of ``url`` among the lower-case ``names``, decoded, trimmed.

    Names match in any case; the first one with a value counts, and an unreplaced macro is none.
    Only ``&`` separates, and a second ``?`` in front of a name. Tags (``utm_…``) are read from the
    fragment if the query has none, click ids if it has no parameter at all. Control characters are
    removed; invalid percent codes and surrogates become U+FFFD.
    """
    if ";" in url or "%3" in url:
        url = _ESCAPED_AMPERSAND.sub(r"\1", url)
    before, _, fragment = url.partition("#")
    found = _read_pairs(before.partition("?")[2], names)
    if "=" not in fragment:
        return found
    in_fragment = _read_pairs(fragment.lstrip("!/"), names)
    if not found:
        return in_fragment
    if not any(name.startswith("utm_") for name in found):
        found |= {name: in_fragment[name] for name in in_fragment if name.startswith("utm_")}
    return found


def _read_pairs(query: str, names: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    if not query:
        return found
    pairs = query.split("&") if "?" not in query else _separator(names).split(query)
    for pair in pairs:
        name, _, value = pair.partition("=")
        if "%" in name or "+" in name:
            name = unquote_plus(name).strip()
        name = name.lower()
        if value and name in names and name not in found and (value := _readable(value)):
            found[name] = value
    return found


@cache
def _separator(names: frozenset[str]) -> re.Pattern[str]:
    alternatives = "|".join(map(re.escape, sorted(names)))
    return re.compile(rf"&|\?(?=(?:{alternatives})=)", re.IGNORECASE)


def _readable(value: str) -> str:
    if len(value) > 4 and value.startswith("%%") and value.endswith("%%"):
        return ""  # a macro too, whose name would be decoded
    if "%" in value or "+" in value:
        value = unquote_plus(value)
    if not value.isprintable():
        value = _SURROGATE.sub("\ufffd", _UNSTORABLE.sub("", value))
    value = value.strip()
    return "" if value.endswith(_MACRO_ENDS) and _MACROS.fullmatch(value) else value


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
    # UTS 46, non-transitional, as browsers do: "faß.de" is not "fass.de". idna.encode would
    # refuse symbols and emoji, which browsers and registries allow.
    try:
        mapped = uts46_remap(unquote(host), std3_rules=False, transitional=False)
    except IDNAError:
        return None
    labels = [
        label if label.isascii() else f"xn--{label.encode('punycode').decode()}"
        for label in mapped.removesuffix(".").split(".")
    ]
    ascii_host = ".".join(labels)
    is_host = _ASCII_HOST.fullmatch(ascii_host) and max(map(len, labels)) <= MAX_LABEL_LENGTH
    return ascii_host if is_host else None
