"""A visitor's device, country and hashed IP address, from a request's headers and address.

Nothing here raises on invalid input.
"""

import hmac
import ipaddress
import logging
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from ua_parser import Parser

_log = logging.getLogger(__name__)

MAX_USER_AGENT_LENGTH = 512
"""Longer ones are cut before parsing."""
IP_HASH_BYTES = 16

CountryLookup: TypeAlias = Callable[[str], str]
"""Returns the country of an IP address: ISO 3166-1 alpha-2 in upper case, or "" if unknown."""


class VisitorDevice(NamedTuple):
    """A visitor's device in the contract's words; "" is another one, or unknown.

    Bots, televisions, consoles and tools have no device type.
    """

    device_type: str
    browser: str
    os: str
    is_bot: bool = False
    """A program instead of a person. A server's own HTTP client is not a bot."""


UNKNOWN_DEVICE = VisitorDevice("", "", "")

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

# Since iPadOS 13, browsers there send a Mac's User-Agent; these apps do not exist for Macs.
_IOS_PASSING_FOR_MAC = re.compile(r"macintosh.*(?:crios|fxios|edgios|opios|opt/|gsa/|mobile/\d)")
# Apps that show pages, and browsers that use another browser's engine and its name.
_ANOTHER_BROWSER = re.compile(r"; wv\)|version/4\.0 chrome/|browser/|[( ](?:gsa|ddg)/")
_TABLET = re.compile(r"ipad|tablet(?! pc)|kindle|playbook|touchpad|; kf[a-z]{2,5}[ ;)]")
_PHONE = re.compile(
    r"\bmobile|iphone|ipod|windows phone|iemobile|blackberry|bb10|kaios|opera mini|opera mobi"
    r"|symbian|midp|nokia|dalvik|ucweb|windows ce"
)
# HarmonyOS names the kind of device first.
_DESKTOP = re.compile(
    r"(?:mozilla|opera)/.*(?:windows|macintosh|mac os|x11|cros|linux|bsd|\((?:pc|2in1);)"
)
_ANDROID_MODEL = re.compile(
    r"(\(linux; (?:[^;()]{1,20}; ){0,2}android [^;)]*;(?: [a-z]{2}(?:[-_][a-z]{2})?;)?)[^;)]*",
    re.IGNORECASE,
)


def parse_user_agent(user_agent: str | None) -> VisitorDevice:
    """Return the device of a User-Agent header; an unknown one if there is none."""
    return _parse(user_agent[:MAX_USER_AGENT_LENGTH]) if user_agent else UNKNOWN_DEVICE


@lru_cache(maxsize=8192)
def _parse(user_agent: str) -> VisitorDevice:
    from ua_parser import Domain  # noqa: PLC0415 - slow

    parsers = _load_parsers()
    # The parsers fail on surrogates.
    readable = user_agent.encode(errors="replace").decode()
    lowered = readable.lower()
    # Some phones are named like a browser or a bot.
    nameless = _ANDROID_MODEL.sub(r"\1", readable, count=1)
    found = parsers.browsers(nameless, Domain.USER_AGENT | Domain.OS)
    program = parsers.programs.parse_user_agent(nameless)
    os = _OS_BY_FAMILY.get(found.os.family, "") if found.os else ""
    browser = _browser(found.user_agent.family if found.user_agent else "", lowered)
    if program:
        return VisitorDevice("", browser, os, is_bot=program.family == "bot")
    if parsers.screens.parse_user_agent(readable):
        return VisitorDevice("", "", os if os != "linux" else "")
    if _IOS_PASSING_FOR_MAC.search(lowered):
        return VisitorDevice("tablet", browser, "ios")
    return VisitorDevice(_device_type(lowered, os), browser, os)


def _browser(family: str, lowered: str) -> str:
    if _ANOTHER_BROWSER.search(lowered):
        return ""
    named = _BROWSER_BY_FAMILY.get(family)
    if named == "safari" and "version/" not in lowered:
        return ""  # an app that shows pages: Safari itself names its version
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


class _Parsers(NamedTuple):
    browsers: "Parser"
    programs: "Parser"
    """Finds the families "bot" and "tool"."""
    screens: "Parser"
    """Finds devices other than phones, tablets and computers."""


@cache
def _load_parsers() -> _Parsers:
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA  # noqa: PLC0415 - slow
    from ua_parser import BestAvailableResolver, Parser, UserAgent, load_builtins  # noqa: PLC0415
    from ua_parser.core import Matcher  # noqa: PLC0415
    from ua_parser.matchers import UserAgentMatcher  # noqa: PLC0415

    def parser(*families: tuple[str, Iterable[str]]) -> Parser:
        matchers: list[Matcher[UserAgent]] = [
            UserAgentMatcher(text, name) for name, texts in families for text in texts
        ]
        return Parser(BestAvailableResolver((matchers, [], [])))

    file = resources.files("millimetric_mcp.api") / "data" / "user_agents.toml"
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    ours = {name: [f"(?i){text}" for text in texts] for name, texts in table.items()}
    bots, tools = ours["bots"], ours["tools"]
    for kept in CRAWLER_USER_AGENTS_DATA:
        if kept["pattern"] not in table["left_out"]:
            (tools if "http-library" in kept["tags"] else bots).append(kept["pattern"])
    # Without the models of devices, which no column holds: half of the memory.
    browsers, systems, _ = load_builtins()
    # The first family that matches counts.
    return _Parsers(
        browsers=Parser(BestAvailableResolver((browsers, systems, []))),
        programs=parser(("bot", bots), ("tool", tools), ("bot", ours["addresses"])),
        screens=parser(("screen", ours["screens"])),
    )


def load_country_lookup() -> CountryLookup:
    """Return the offline look-up of the ``geo`` extra; without it, every country is unknown.

    The country is the one that the registries assigned the address block to.
    """
    try:
        from iptocc import country_code  # noqa: PLC0415 - an optional extra
    except ImportError:
        _log.warning(
            "Countries will be empty: the table of networks is not installed. "
            "Install it with: pip install 'millimetric-mcp[geo]'"
        )
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
    text = _write_ip(ip)
    return hmac.digest(key, text.encode(errors="replace"), "sha256")[:IP_HASH_BYTES]


def make_visitor_id(
    ip: str, user_agent: str, *, salt: bytes, date_utc: date, project_id: int
) -> str:
    """Return an id that a visitor has for one UTC day, in one project, without a cookie."""
    facts = f"{date_utc.isoformat()} {project_id} {_write_ip(ip)} {user_agent}"
    digest = hmac.digest(salt + b"visitor", facts.encode(errors="replace"), "sha256")
    return f"d_{digest[:16].hex()}"


@lru_cache(maxsize=8192)
def _write_ip(ip: str) -> str:
    """Return the one form of an address; a text that is none stays as it is."""
    return str(_read_ip(ip) or ip)


@lru_cache(maxsize=8192)
def _read_ip(ip: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(ip.partition("%")[0] if ip else "")
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
