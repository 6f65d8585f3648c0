"""The classifier's rules as the documentation lists them; read from ``rules.toml``."""

import tomllib
from dataclasses import dataclass
from importlib import resources

from millimetric_mcp.contract.attribution import Confidence


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: when it matches, the source and medium it gives, and how certain that is."""

    rule_id: str
    fires_when: str
    result: str
    confidence: Confidence


def _load() -> tuple[Rule, ...]:
    text = (resources.files(__package__) / "rules.toml").read_text(encoding="utf-8")
    return tuple(
        Rule(rule_id, fires_when, result, Confidence(confidence))
        for rule_id, (fires_when, result, confidence) in tomllib.loads(text).items()
    )


RULES = _load()
"""Every rule, in the order in which they are tried."""
