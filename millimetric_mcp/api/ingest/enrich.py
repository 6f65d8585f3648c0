"""A visitor's device, country and hashed IP address, from a request's headers and address.

Nothing here raises on invalid input.
"""

import hmac
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from ua_parser import Parser

MAX_USER_AGENT_LENGTH = 512
"""Longer ones are cut before parsing."""
IP_HASH_BYTES = 16

CountryLookup: TypeAlias = Callable[[str], str]
"""Returns the country of an IP address: ISO 3166-1 alpha-2 in upper case, or "" if unknown."""


class Device(NamedTuple):
    """A visitor's device in the contract's words; "" is another one, or unknown.

    Bots, televisions, consoles and tools have no device type.
    """

    device_type: str
    browser: str
    os: str


UNKNOWN_DEVICE = Device("", "", "")

_BROWSER_BY_FAMILY: Mapping[str, str] = {
    **dict.fromkeys(("Chrome", "Chrome Mobile", "Chrome Mobile iOS"), "chrome"),
    **dict.fromkeys(("Chromium", "HeadlessChrome"), "chrome"),
    **dict.fromkeys(("Safari", "Mobile Safari"), "safari"),
    **dict.fromkeys(("Edge", "Edge Mobile"), "edge"),
}
# The parser adds a word to variants of these: Firefox Mobile, Firefox iOS, Opera Mini.
_BROWSER_BY_FIRST_WORD: Mapping[str, str] = {"Firefox": "firefox", "Opera": "opera"}

_LINUX = (
    "Arch Linux,CentOS,Debian,Fedora,Gentoo,Kubuntu,Linux,Linux Mint,Lubuntu,Mageia,Mandriva,"
    "PCLinuxOS,Puppy,Red Hat,Slackware,SUSE,Ubuntu,Xubuntu"
)
_OS_BY_FAMILY: Mapping[str, str] = {
    **dict.fromkeys(("Windows", "Windows Phone", "Windows Mobile", "Windows CE"), "windows"),
    **dict.fromkeys(("Mac OS X", "Mac OS"), "macos"),
    "iOS": "ios",
    "Android": "android",
    **dict.fromkeys(_LINUX.split(","), "linux"),
}

# The parser knows most crawlers (its device family Spider), but not these: monitors, link
# previews, feed readers, HTTP libraries. CUBOT is a brand of phones.
_NOT_A_PERSON = re.compile(
    r"(?<!cu)bots?(?![a-z])|crawl|spider|slurp|scrap(?:er|y)|archiver|external(?:hit|agent|fetcher)"
    r"|headless|phantomjs|puppeteer|playwright|selenium|webdriver|cypress"
    r"|lighthouse|page ?speed|gtmetrix|webpagetest|ptst/"
    r"|monitor|uptime|pingdom|statuscake|site24x7|synthetic|health-?check|kube-probe|googlehc"
    r"|nagios|check_http|prometheus|blackbox[-_ ]exporter|zabbix|checkly|freshping"
    r"|preview|embedly|iframely|whatsapp/|mastodon/|pleroma|misskey/|akkoma|vkshare"
    r"|feed(?:fetcher|ly|burner|bin|parser|validator|wrangler)|newsblur|inoreader|tiny tiny rss"
    r"|validator|check ?link|link ?check|google-(?!app)|googleother|google favicon|mediapartners"
    r"|(?:chatgpt|claude|perplexity|mistralai)-user|claude-web|duckassist|cohere-ai|anthropic-ai"
    r"|screaming frog|sitebulb|virustotal|urlscan|censys|shodan|zgrab|masscan|nmap|nikto|sqlmap"
    r"|cloudfront|cloudflare|vercel|netlify|zapier|ifttt"
    r"|curl|wget|python|okhttp|axios|node-fetch|postman|insomnia|powershell|libwww|java/"
    r"|go-http|http-?client|dart:io"
)
_TELEVISION_OR_CONSOLE = re.compile(
    r"smart-?tv|google ?tv|android ?tv|apple ?tv|tvos|hbbtv|netcast|web0s|webos\.?tv|viera|bravia"
    r"|aquos-?tv|roku|crkey|chromecast|; aft[a-z0-9]{1,6}[ ;)]|fire ?tv|mi ?tv|mibox|shield android"
    r"|\btv safari|vidaa|ce-html|[_ ]stb[_ ]|inettvbrowser|opera tv|nokia_?tv|philipstv|dtv\b"
    r"|playstation|xbox|nintendo|oculus|vision ?os|tesla|watchos|apple ?watch|wear ?os"
)
# Since iPadOS 13, browsers there send a Mac's User-Agent; these apps do not exist for Macs.
_IOS_PASSING_FOR_MAC = re.compile(r"macintosh.*(?:crios|fxios|edgios|opios|opt/|gsa/|mobile/\d)")
# Apps that show pages, and browsers that use another browser's engine and its name.
_ANOTHER_BROWSER = re.compile(r"; wv\)|version/4\.0 chrome/|browser/|[( ](?:gsa|ddg)/")
_TABLET = re.compile(r"ipad|tablet(?! pc)|kindle|playbook|touchpad|; kf[a-z]{2,5}[ ;)]")
_PHONE = re.compile(
    r"\bmobile|iphone|ipod|windows phone|iemobile|blackberry|bb10|kaios|opera mini|opera mobi"
    r"|symbian|midp|nokia|dalvik|ucweb|windows ce"
)
_DESKTOP = re.compile(r"(?:mozilla|opera)/.*(?:windows|macintosh|mac os|x11|cros|linux|bsd)")


def parse_user_agent(user_agent: str | None) -> Device:
    """Return the device of a User-Agent header; an unknown one if there is none."""
    return _parse(user_agent[:MAX_USER_AGENT_LENGTH]) if user_agent else UNKNOWN_DEVICE


@lru_cache(maxsize=8192)
def _parse(user_agent: str) -> Device:
    from ua_parser import Domain  # noqa: PLC0415 - slow

    # The parser fails on surrogates.
    readable = user_agent.encode(errors="replace").decode()
    found = _load_parser()(readable, Domain.ALL)
    lowered = readable.lower()
    os = _OS_BY_FAMILY.get(found.os.family, "") if found.os else ""
    browser = _browser(found.user_agent.family if found.user_agent else "", lowered)
    if (found.device and found.device.brand == "Spider") or _NOT_A_PERSON.search(lowered):
        return Device("", browser, os)
    if _TELEVISION_OR_CONSOLE.search(lowered):
        return Device("", "", os if os != "linux" else "")
    if _IOS_PASSING_FOR_MAC.search(lowered):
        return Device("tablet", browser, "ios")
    return Device(_device_type(lowered, os), browser, os)


def _browser(family: str, lowered: str) -> str:
    if _ANOTHER_BROWSER.search(lowered):
        return ""
    named = _BROWSER_BY_FAMILY.get(family)
    return named or _BROWSER_BY_FIRST_WORD.get(family.partition(" ")[0], "")


def _device_type(lowered: str, os: str) -> str:
    if _TABLET.search(lowered):
        return "tablet"
    if _PHONE.search(lowered):
        return "mobile"
    if os in {"android", "ios"}:
        # Android's browsers say Mobile on phones only; iOS apps may name no device.
        return "tablet" if os == "android" else "mobile"
    if _DESKTOP.match(lowered) or (os == "macos" and "cfnetwork" in lowered):
        return "desktop"
    return ""


@cache
def _load_parser() -> "Parser":
    from ua_parser import BestAvailableResolver, Parser, load_builtins  # noqa: PLC0415

    return Parser(BestAvailableResolver(load_builtins()))


def load_country_lookup() -> CountryLookup:
    """Return the offline look-up of the ``geo`` extra; without it, every country is unknown.

    The country is the one that the registries assigned the address block to.
    """
    try:
        from iptocc import country_code  # noqa: PLC0415 - an optional extra
    except ImportError:
        return lambda _: ""
    return lru_cache(maxsize=8192)(lambda ip: country_of(ip, lookup=country_code))


def country_of(ip: str | None, *, lookup: Callable[[str], str | None]) -> str:
    """Return the ISO code that ``lookup`` knows for a public address, else "".

    Codes of regions, such as the registries' EU and AP, are left out.
    """
    address = _read_ip(ip)
    if address is None or not address.is_global or address.is_multicast:
        return ""
    code = lookup(str(address)) or ""
    return code if _COUNTRY_CODE.fullmatch(code) and code not in _NO_COUNTRIES else ""


_COUNTRY_CODE = re.compile(r"[A-Z]{2}")
_NO_COUNTRIES = frozenset({"AP", "EU", "XX", "ZZ"})


@lru_cache(maxsize=8192)
def hash_ip(ip: str, *, salt: bytes, date_utc: date) -> bytes:
    """Return the first half of HMAC-SHA-256 of the address, with the salt and UTC date as key.

    Other forms of an address (IPv4 in IPv6 form, upper case) have the same hash.
    """
    key = salt + date_utc.isoformat().encode()
    text = str(_read_ip(ip) or ip)
    return hmac.digest(key, text.encode(errors="replace"), "sha256")[:IP_HASH_BYTES]


def make_visitor_id(
    ip: str, user_agent: str, *, salt: bytes, date_utc: date, project_id: int
) -> str:
    """Return an id that a visitor has for one UTC day, in one project, without a cookie."""
    facts = f"{date_utc.isoformat()} {project_id} {_read_ip(ip) or ip} {user_agent}"
    digest = hmac.digest(salt + b"visitor", facts.encode(errors="replace"), "sha256")
    return f"d_{digest[:16].hex()}"


def _read_ip(ip: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(ip.partition("%")[0] if ip else "")
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
