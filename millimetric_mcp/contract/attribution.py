"""What an attribution is, and the id and meaning of every rule of the classifier.

Rules are in the order in which they are tried. The first one that matches an event decides.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Confidence(StrEnum):
    """How certain a rule's result is."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Attribution(NamedTuple):
    """Where an event came from.

    ``source`` and ``medium`` are lower case and never empty; ``campaign`` is the
    ``utm_campaign`` as written, or None; ``rule_id`` is the id of a row of `RULES`.
    """

    source: str
    medium: str
    campaign: str | None
    confidence: Confidence
    rule_id: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, as the documentation lists it."""

    rule_id: str
    fires_when: str
    result: str
    confidence: Confidence


RULES: tuple[Rule, ...] = (
    Rule("gclid", "the URL carries gclid", "google / paid", Confidence.HIGH),
    Rule("msclkid", "the URL carries msclkid", "bing / paid", Confidence.HIGH),
    Rule("ttclid", "the URL carries ttclid", "tiktok / paid", Confidence.HIGH),
    Rule("li_fat_id", "the URL carries li_fat_id", "linkedin / paid", Confidence.HIGH),
    Rule("gbraid", "the URL carries gbraid", "google / paid", Confidence.HIGH),
    Rule("wbraid", "the URL carries wbraid", "google / paid", Confidence.HIGH),
    Rule("dclid", "the URL carries dclid", "google / paid", Confidence.HIGH),
    Rule("twclid", "the URL carries twclid", "twitter / paid", Confidence.HIGH),
    Rule("rdt_cid", "the URL carries rdt_cid", "reddit / paid", Confidence.HIGH),
    Rule("ScCid", "the URL carries ScCid", "snapchat / paid", Confidence.HIGH),
    Rule("yclid", "the URL carries yclid", "yandex / paid", Confidence.HIGH),
    Rule(
        "fb_ad_redirect",
        "fbclid, and the referrer host is l.facebook.com or lm.facebook.com",
        "facebook / paid",
        Confidence.HIGH,
    ),
    Rule(
        "fbclid_utm",
        "fbclid, and utm_source is facebook, instagram or meta (or fb, ig)",
        "facebook or instagram / paid",
        Confidence.HIGH,
    ),
    Rule(
        "utm_paid_facebook",
        "utm_medium is a paid one and utm_source is facebook (or fb, meta)",
        "facebook / paid",
        Confidence.HIGH,
    ),
    Rule(
        "utm_paid_instagram",
        "utm_medium is a paid one and utm_source is instagram (or ig)",
        "instagram / paid",
        Confidence.HIGH,
    ),
    Rule(
        "utm_paid",
        "utm_medium is a paid one and utm_source is any other",
        "<utm_source> / paid",
        Confidence.HIGH,
    ),
    Rule(
        "utm_paid_unknown",
        "utm_medium is a paid one and there is no utm_source",
        "unknown / paid",
        Confidence.MEDIUM,
    ),
    Rule("fbclid_only", "fbclid, and there is no utm_source", "facebook / paid", Confidence.MEDIUM),
    Rule(
        "utm_explicit",
        "the URL carries utm_source",
        "<utm_source> / <utm_medium or unknown>",
        Confidence.HIGH,
    ),
    Rule(
        "ref_facebook", "a Facebook referrer without fbclid", "facebook / social", Confidence.MEDIUM
    ),
    Rule(
        "ref_instagram",
        "an Instagram referrer without fbclid",
        "instagram / social",
        Confidence.MEDIUM,
    ),
    Rule(
        "ref_social", "another social network's referrer", "<network> / social", Confidence.MEDIUM
    ),
    Rule("ref_search", "a search engine's referrer", "<engine> / organic", Confidence.MEDIUM),
    Rule("ref_email", "a webmail referrer", "email / email", Confidence.MEDIUM),
    Rule("ref_ai", "an AI assistant's referrer", "<assistant> / referral", Confidence.MEDIUM),
    Rule("ref_internal", "the referrer is the site itself", "internal / direct", Confidence.HIGH),
    Rule("direct", "no usable referrer", "direct / direct", Confidence.HIGH),
    Rule("ref_other", "any other referrer", "<registrable domain> / referral", Confidence.LOW),
)
"""Every rule, in the order in which they are tried."""
