"""The source classifier: pure; the first matching rule wins; no input makes it raise.

`_CASCADE` lists the rules in order. The hosts are in the data files that `networks` reads; the
rules' ids and confidences are in the contract.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from millimetric_mcp.api.ingest.address import (
    Address,
    host_of,
    read_address,
    read_parameters,
    registrable_domain,
)
from millimetric_mcp.api.ingest.networks import Kind, Listing, find_listing
from millimetric_mcp.contract.attribution import Attribution
from millimetric_mcp.contract.rules import RULES

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
"""The network that adds each click id to its ads' URLs; the rule id is the parameter's name."""

_PAID_MEDIUMS = (
    "cpc cpm paid paid_social display ppc cpv cpa cpp paidsocial paid_search paidsearch banner "
    "retargeting remarketing"
)
PAID_MEDIUMS = frozenset(_PAID_MEDIUMS.split())
"""utm_medium values that mean paid, with spaces and hyphens read as underscores."""

SOURCE_ALIASES: Mapping[str, str] = {"fb": "facebook", "meta": "facebook", "ig": "instagram"}

_AD_REDIRECT_HOSTS = frozenset({"l.facebook.com", "lm.facebook.com"})
_PARAMETERS = frozenset(
    {*(name.lower() for name in CLICK_ID_SOURCES), "fbclid"}
    | {"utm_source", "utm_medium", "utm_campaign"}
)
# Others (about:, file:, a browser extension's page) are not on the web.
_REFERRER_SCHEMES = frozenset({"http", "https", "android-app", "ios-app", ""})
_UNDERSCORED = str.maketrans(" -", "__")


class Facts(NamedTuple):
    """What the rules look at."""

    parameters: Mapping[str, str]
    """The known parameters of the URL, by lower-case name."""
    referrer: Address
    """`NO_ADDRESS` if there is none, or an invalid one."""
    listing: Listing | None
    """The referrer's entry in the host tables."""
    request_host: str | None
    utm_source: str | None = None
    """Lower case, aliases resolved."""
    utm_medium: str | None = None
    """Lower case."""
    utm_campaign: str | None = None
    utm_paid: bool = False
    """The medium is a paid one."""


NO_ADDRESS = Address("", "", "")


def read_facts(url: str | None, referrer: str | None, request_host: str | None) -> Facts:
    """Parse what the rules look at; aliases are resolved."""
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
"""Source and medium if a rule applies, else None."""

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
    host, site = facts.referrer.host, facts.request_host
    if not (host and site):
        return None
    if host != site:  # nearly always it is canonical already
        site = host_of(site) or host_of(f"//{site}") or ""
    is_internal = host.removeprefix("www.") == site.removeprefix("www.")
    return ("internal", "direct") if is_internal else None


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
"""The rules that need a known parameter in the URL."""

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
    """Return where an event came from, by the first rule that applies."""
    return decide(read_facts(url, referrer, request_host))


def decide(facts: Facts) -> Attribution:
    """Return the attribution of the first rule that applies to ``facts``."""
    for rule_id, step in _CASCADE if facts.parameters else _REFERRER_RULES:
        if (outcome := step(facts)) is not None:
            return Attribution(*outcome, facts.utm_campaign, _CONFIDENCES[rule_id], rule_id)
    referrer = facts.referrer
    is_app = referrer.scheme == "android-app"
    name = referrer.host if is_app else registrable_domain(referrer.host)
    return Attribution(name, "referral", facts.utm_campaign, _CONFIDENCES["ref_other"], "ref_other")
