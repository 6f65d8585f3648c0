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
