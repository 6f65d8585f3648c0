"""The source classifier: pure; the first matching rule wins; no input makes it raise.

`_CASCADE` lists the rules in order. The hosts are in the data files that `networks` reads; the
rules' ids and confidences are in the contract.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from millimetric_mcp.api.ingest.address import (
    Address,
    host_of,
    read_address,
    read_parameters,
    registrable_domain,
)
from millimetric_mcp.api.ingest.networks import Kind, Listing, find_listing
from millimetric_mcp.contract.attribution import Attribution, FbclidMeaning
from millimetric_mcp.contract.rules import RULES

CLICK_ID_SOURCES: Mapping[str, str] = {
    "gclid": "google",
    "msclkid": "bing",
    "ttclid": "tiktok",
    "li_fat_id": "linkedin",
    "gbraid": "google",
    "wbraid": "google",
    "dclid": "google",
    # What Google's ads add where gclid may not travel: support.google.com/analytics/answer/16479993
    "gad_source": "google",
    "gad_campaignid": "google",
    "gclsrc": "google",
    "twclid": "twitter",
    "rdt_cid": "reddit",
    "ScCid": "snapchat",
    "yclid": "yandex",
}
"""The network that adds each click id to its ads' URLs; the rule id is the parameter's name."""

# By what the advertiser pays: the documented cascade's (cpc cpm cpv cpa cpp ppc), and others that
# GA4's default channel group calls paid: support.google.com/analytics/answer/9756891
_PRICES = "cpc cpm cpv cpa cpp ppc cpl cpcv cpe cpi cpo cps vcpm ecpm ocpm ppv"
_PAID_MEDIUMS = (
    "paid paid_social paidsocial paid_search paidsearch display banner retargeting remarketing "
    "sem ads ad expandable interstitial programmatic"
)
PAID_MEDIUMS = frozenset(f"{_PRICES} {_PAID_MEDIUMS}".split())
"""utm_medium values that mean paid, with spaces and hyphens read as underscores."""

# One word of several is enough: social_cpc, display_ads. GA4 asks for "cp" anywhere; that would
# find mcp and cpanel too.
PAID_WORDS = frozenset(
    f"{_PRICES} paid ads sem sea display banner retargeting remarketing adwords pmax".split()
)
DENIALS = frozenset({"non", "not", "no"})  # non-paid

# Besides fb and ig, Meta's {{site_source_name}} and {{placement}} write an (Audience Network),
# msg (Messenger) and th (Threads).
SOURCE_ALIASES: Mapping[str, str] = {
    **dict.fromkeys(("fb", "meta", "an", "msg"), "facebook"),
    "ig": "instagram",
    "th": "threads",
}

_AD_REDIRECT_HOSTS = frozenset({"l.facebook.com", "lm.facebook.com"})
# Meta's other networks add fbclid to their links too.
_META_NETWORKS = frozenset({"instagram", "threads", "messenger", "whatsapp"})
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
    address, listing = _read_referrer(referrer) if referrer else _NO_REFERRER
    tags = _read_tags(url) if url else _NO_TAGS
    return Facts(tags.parameters, address, listing, request_host, *tags[1:])


class _Tags(NamedTuple):
    """What the rules look at in a URL; the names are those of `Facts`."""

    parameters: Mapping[str, str]
    utm_source: str | None = None
    utm_medium: str | None = None
    utm_campaign: str | None = None
    utm_paid: bool = False


_NO_TAGS = _Tags({})
_NO_REFERRER: tuple[Address, Listing | None] = (NO_ADDRESS, None)


# Most events are of a few pages, and come from a few. An entry has up to 4 KB of text.
@lru_cache(maxsize=4096)
def _read_tags(url: str) -> _Tags:
    parameters = read_parameters(url, _PARAMETERS)
    if not parameters:
        return _NO_TAGS
    source = parameters.get("utm_source")
    medium = parameters.get("utm_medium")
    return _Tags(
        parameters,
        utm_source=_resolve_source(source.lower()) if source else None,
        utm_medium=medium.lower() if medium else None,
        utm_campaign=parameters.get("utm_campaign"),
        utm_paid=is_paid(medium.lower()) if medium else False,
    )


@lru_cache(maxsize=4096)
def _read_referrer(referrer: str) -> tuple[Address, Listing | None]:
    address = read_address(referrer)
    if address is None or address.scheme not in _REFERRER_SCHEMES:
        return _NO_REFERRER
    return address, find_listing(address)


@lru_cache(maxsize=1024)
def _resolve_source(utm_source: str) -> str:
    """Return the network that an alias, a listed host or an app id means; else the value."""
    alias = SOURCE_ALIASES.get(utm_source)
    address = read_address(utm_source) if alias is None and "." in utm_source else None
    listing = find_listing(address) if address else None
    if listing and listing.kind is not Kind.PLAIN:
        return listing.source
    return alias or utm_source


@lru_cache(maxsize=1024)
def is_paid(utm_medium: str) -> bool:
    medium = utm_medium.translate(_UNDERSCORED)
    if medium.startswith("paid") or medium in PAID_MEDIUMS:
        return True
    words = _WORDS.findall(medium)
    return not PAID_WORDS.isdisjoint(words) and DENIALS.isdisjoint(words)


_WORDS = re.compile(r"[a-z]+")


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
    if "fbclid" not in facts.parameters or facts.utm_source:
        return None
    network = facts.listing.name if facts.listing else ""
    return (network, "paid") if network in _META_NETWORKS else _FACEBOOK_PAID


def _as_social(step: Step) -> Step:
    """Return a rule of fbclid that answers medium ``social`` in place of ``paid``."""

    def social(facts: Facts) -> Outcome:
        outcome = step(facts)
        is_explicit = facts.utm_source and facts.utm_medium
        return (outcome[0], facts.utm_medium or "social") if outcome and not is_explicit else None

    return social


def _utm_explicit(facts: Facts) -> Outcome:
    return (facts.utm_source, facts.utm_medium or "unknown") if facts.utm_source else None


def _referrer_from(network: str) -> Step:
    def step(facts: Facts) -> Outcome:
        return (network, "social") if facts.listing and facts.listing.name == network else None

    return step


def _referrer_of(kind: Kind, medium: str) -> Step:
    def step(facts: Facts) -> Outcome:
        listing = facts.listing
        return (listing.source, medium) if listing and listing.kind is kind else None

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
    ("ref_email", _referrer_of(Kind.EMAIL, "email")),
    ("ref_ai", _referrer_of(Kind.AI, "referral")),
    ("ref_ads", _referrer_of(Kind.ADS, "paid")),
    ("ref_internal", _ref_internal),
    ("direct", _direct),
)

FBCLID_RULES = frozenset({"fb_ad_redirect", "fbclid_utm", "fbclid_only"})
FBCLID_SOCIAL_RULE = "fbclid_social"

_PAID_CASCADE = _URL_RULES + _REFERRER_RULES
_SOCIAL_CASCADE = tuple(
    (FBCLID_SOCIAL_RULE, _as_social(step)) if rule_id in FBCLID_RULES else (rule_id, step)
    for rule_id, step in _PAID_CASCADE
)
"""The cascade if fbclid counts as social, for URLs without a paid utm_medium."""

_CONFIDENCES = {rule.rule_id: rule.confidence for rule in RULES}


def classify(
    url: str | None,
    referrer: str | None,
    request_host: str | None,
    *,
    fbclid: FbclidMeaning = FbclidMeaning.PAID,
) -> Attribution:
    """Return where an event came from, by the first rule that applies."""
    if url and _read_tags(url).parameters:
        return decide(read_facts(url, referrer, request_host), fbclid=fbclid)
    return _classify_referrer(referrer, request_host)


@lru_cache(maxsize=4096)  # three of four events: most pages are opened from another one
def _classify_referrer(referrer: str | None, request_host: str | None) -> Attribution:
    return decide(read_facts(None, referrer, request_host), fbclid=FbclidMeaning.PAID)


def decide(facts: Facts, *, fbclid: FbclidMeaning) -> Attribution:
    """Return the attribution of the first rule that applies to ``facts``."""
    if not facts.parameters:
        cascade = _REFERRER_RULES
    elif fbclid is FbclidMeaning.PAID or facts.utm_paid:
        cascade = _PAID_CASCADE
    else:
        cascade = _SOCIAL_CASCADE
    for rule_id, step in cascade:
        if (outcome := step(facts)) is not None:
            return Attribution(*outcome, facts.utm_campaign, _CONFIDENCES[rule_id], rule_id)
    name = _name_unlisted(facts.referrer)
    return Attribution(name, "referral", facts.utm_campaign, _CONFIDENCES["ref_other"], "ref_other")


def _name_unlisted(referrer: Address) -> str:
    host = referrer.host
    # An app's package is a whole. Some apps name a website in its place.
    is_package = referrer.scheme == "android-app" and not host.startswith(("www.", "m."))
    return host if is_package else registrable_domain(host)
