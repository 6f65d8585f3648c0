"""What an attribution is. `rules.toml` lists the rules that decide it."""

from enum import StrEnum
from typing import NamedTuple


class Confidence(StrEnum):
    """How certain a rule's result is."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class FbclidMeaning(StrEnum):
    """What an fbclid without a paid utm_medium counts as: Facebook adds it to unpaid links too."""

    PAID = "paid"
    SOCIAL = "social"


class Attribution(NamedTuple):
    """Where an event came from.

    ``source`` and ``medium`` are lower case and never empty; ``campaign`` is the
    ``utm_campaign`` as written, or None; ``rule_id`` is one of `rules.RULES`.
    """

    source: str
    medium: str
    campaign: str | None
    confidence: Confidence
    rule_id: str


class AttributionModel(StrEnum):
    """Which touch an event counts for: its own source, or one of its session or person."""

    EVENT = "event"
    SESSION = "session"
    FIRST_TOUCH = "first_touch"
    LAST_TOUCH = "last_touch"


class TrafficChannel(StrEnum):
    """A group of sources and mediums."""

    PAID_SEARCH = "paid_search"
    PAID_SOCIAL = "paid_social"
    PAID_OTHER = "paid_other"
    ORGANIC_SEARCH = "organic_search"
    SOCIAL = "social"
    EMAIL = "email"
    AI = "ai"
    REFERRAL = "referral"
    INTERNAL = "internal"
    DIRECT = "direct"
    OTHER = "other"


NO_TOUCH_RULE = "no_touch"
"""The rule id of an event for which no touch was found; its source and medium are ``direct``."""
