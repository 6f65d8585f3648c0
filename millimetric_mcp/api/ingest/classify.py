"""The source classifier: pure, first match wins, and no input makes it raise.

`_CASCADE` reads like the table it implements; what its rules know of hosts stands in the
data files behind `networks`, what they are called and how sure they are in the contract.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from millimetric_mcp.api.ingest.address import (
    MAX_HOST_LENGTH,
    Address,
    host_of,
    read_address,
    read_parameters,
    registrable_domain,
)
from millimetric_mcp.api.ingest.networks import Kind, Listing, find_listing
from millimetric_mcp.contract.attribution import RULES, Attribution

CLICK_ID_SOURCES: Mapping[str, str] = {
    "gclid": "google",
    "msclkid": "bing",
    "ttclid": "tiktok",
    "li_fat_id": "linkedin",
    "gbraid": "google",
    "wbraid": "google",
    "dclid": "google",
    "twclid": "twitter",
    "rdt_cid": "reddit",
    "ScCid": "snapchat",
    "yclid": "yandex",
}
"""Whose advertisement a click id proves, by rule id, which is its documented spelling."""

PAID_MEDIUMS = frozenset(
    {
        "cpc",
        "cpm",
        "paid",
        "paid_social",
        "display",
        "ppc",
        "cpv",
        "cpa",
        "cpp",
        "paidsocial",
        "paid_search",
        "paidsearch",
        "banner",
        "retargeting",
        "remarketing",
    }
)
"""utm_medium values that mean paid, with spaces and hyphens read as underscores."""

SOURCE_ALIASES: Mapping[str, str] = {"fb": "facebook", "meta": "facebook", "ig": "instagram"}

_AD_REDIRECT_HOSTS = frozenset({"l.facebook.com", "lm.facebook.com"})
_PARAMETERS = frozenset(
    {*(name.lower() for name in CLICK_ID_SOURCES), "fbclid"}
    | {"utm_source", "utm_medium", "utm_campaign"}
)
# Others (about:, file:, an extension's page) name no place on the web.
_REFERRER_SCHEMES = frozenset({"http", "https", "android-app", "ios-app", ""})
_MAX_SITE_LENGTH = MAX_HOST_LENGTH + len(".:65535")
_UNDERSCORED = str.maketrans(" -", "__")


class Facts(NamedTuple):
    """What the rules look at: an event's origin before anybody judges it."""

    parameters: Mapping[str, str]
    """The known parameters of the URL, by lower-case name."""
    referrer: Address
    """`NO_ADDRESS` where there is no usable one."""
    listing: Listing | None
    """What the host tables say of the referrer."""
    request_host: str | None
    utm_source: str | None = None
    """Lower case, aliases resolved."""
    utm_medium: str | None = None
    """Lower case."""
    utm_campaign: str | None = None
    utm_paid: bool = False
    """The medium is one that people pay for."""


NO_ADDRESS = Address("", "", "")


def read_facts(url: str | None, referrer: str | None, request_host: str | None) -> Facts:
    """The facts of one event; aliases resolved, nothing decided."""
    parameters = read_parameters(url, _PARAMETERS) if url else {}
    address = _read_referrer(referrer) if referrer else NO_ADDRESS
    listing = find_listing(address) if address.host else None
    if not parameters:
        return Facts(parameters, address, listing, request_host)
    source = parameters.get("utm_source", "").lower()
    medium = parameters.get("utm_medium", "").lower()
    return Facts(
        parameters,
        address,
        listing,
        request_host,
        utm_source=SOURCE_ALIASES.get(source, source) or None,
        utm_medium=medium or None,
        utm_campaign=parameters.get("utm_campaign"),
        utm_paid=medium.translate(_UNDERSCORED) in PAID_MEDIUMS,
    )


def _read_referrer(referrer: str) -> Address:
    address = read_address(referrer)
    return address if address and address.scheme in _REFERRER_SCHEMES else NO_ADDRESS


Outcome: TypeAlias = tuple[str, str] | None
"""Source and medium where a rule fires, else None."""

Step: TypeAlias = Callable[[Facts], Outcome]

_FACEBOOK_PAID = ("facebook", "paid")


def _click_id(rule_id: str, source: str) -> tuple[str, Step]:
    name, outcome = rule_id.lower(), (source, "paid")
    return rule_id, lambda facts: outcome if name in facts.parameters else None


def _fb_ad_redirect(facts: Facts) -> Outcome:
    came_by_redirect = facts.referrer.host in _AD_REDIRECT_HOSTS
    return _FACEBOOK_PAID if came_by_redirect and "fbclid" in facts.parameters else None


def _fbclid_utm(facts: Facts) -> Outcome:
    if "fbclid" in facts.parameters and facts.utm_source in {"facebook", "instagram"}:
        return facts.utm_source, "paid"
    return None


def _utm_paid_for(source: str | None, *, named: str) -> Step:
    def step(facts: Facts) -> Outcome:
        return (named, "paid") if facts.utm_paid and facts.utm_source == source else None

    return step


def _utm_paid(facts: Facts) -> Outcome:
    return (facts.utm_source, "paid") if facts.utm_paid and facts.utm_source else None


def _fbclid_only(facts: Facts) -> Outcome:
    return _FACEBOOK_PAID if "fbclid" in facts.parameters and not facts.utm_source else None


def _utm_explicit(facts: Facts) -> Outcome:
    return (facts.utm_source, facts.utm_medium or "unknown") if facts.utm_source else None


def _referrer_from(network: str) -> Step:
    def step(facts: Facts) -> Outcome:
        return (network, "social") if facts.listing and facts.listing.name == network else None

    return step


def _referrer_of(kind: Kind, medium: str, *, source: str | None = None) -> Step:
    def step(facts: Facts) -> Outcome:
        listing = facts.listing
        if listing is None or listing.kind is not kind:
            return None
        return source or listing.name, medium

    return step


def _ref_internal(facts: Facts) -> Outcome:
    host, request_host = facts.referrer.host, facts.request_host
    if host and request_host and host.removeprefix("www.") == _site_of(request_host):
        return "internal", "direct"
    return None


def _direct(facts: Facts) -> Outcome:
    return None if facts.referrer.host else ("direct", "direct")


_URL_RULES: tuple[tuple[str, Step], ...] = (
    *(_click_id(rule_id, source) for rule_id, source in CLICK_ID_SOURCES.items()),
    ("fb_ad_redirect", _fb_ad_redirect),
    ("fbclid_utm", _fbclid_utm),
    ("utm_paid_facebook", _utm_paid_for("facebook", named="facebook")),
    ("utm_paid_instagram", _utm_paid_for("instagram", named="instagram")),
    ("utm_paid", _utm_paid),
    ("utm_paid_unknown", _utm_paid_for(None, named="unknown")),
    ("fbclid_only", _fbclid_only),
    ("utm_explicit", _utm_explicit),
)
"""The rules that only a URL with a known parameter can meet."""

_REFERRER_RULES: tuple[tuple[str, Step], ...] = (
    ("ref_facebook", _referrer_from("facebook")),
    ("ref_instagram", _referrer_from("instagram")),
    ("ref_social", _referrer_of(Kind.SOCIAL, "social")),
    ("ref_search", _referrer_of(Kind.SEARCH, "organic")),
    ("ref_email", _referrer_of(Kind.EMAIL, "email", source="email")),
    ("ref_ai", _referrer_of(Kind.AI, "referral")),
    ("ref_internal", _ref_internal),
    ("direct", _direct),
)

_CASCADE = _URL_RULES + _REFERRER_RULES
_CONFIDENCES = {rule.rule_id: rule.confidence for rule in RULES}


def classify(url: str | None, referrer: str | None, request_host: str | None) -> Attribution:
    """Where an event came from, by the first rule that fires."""
    return decide(read_facts(url, referrer, request_host))


def decide(facts: Facts) -> Attribution:
    """The attribution that the first rule to fire gives to ``facts``."""
    for rule_id, step in _CASCADE if facts.parameters else _REFERRER_RULES:
        outcome = step(facts)
        if outcome is not None:
            return _attribution(facts, rule_id, outcome)
    return _attribution(facts, "ref_other", (_slug(facts.referrer), "referral"))


def _attribution(facts: Facts, rule_id: str, outcome: tuple[str, str]) -> Attribution:
    source, medium = outcome
    return Attribution(source, medium, facts.utm_campaign, _CONFIDENCES[rule_id], rule_id)


def _slug(referrer: Address) -> str:
    """What an unlisted referrer is called: an app by its package, a site by its domain."""
    if referrer.scheme == "android-app":
        return referrer.host
    return registrable_domain(referrer.host)


def _site_of(request_host: str) -> str | None:
    # What can be no host is not worth a place in the cache either.
    return _read_site(request_host) if len(request_host) <= _MAX_SITE_LENGTH else None


@lru_cache(maxsize=1024)
def _read_site(request_host: str) -> str | None:
    host = host_of(request_host) or host_of(f"//{request_host}")
    return host and host.removeprefix("www.")
