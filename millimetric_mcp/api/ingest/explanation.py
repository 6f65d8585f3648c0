"""Why the classifier answered as it did: for people who read it, and for machines."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from millimetric_mcp.api.ingest.classify import CLICK_ID_SOURCES, Facts, decide, read_facts
from millimetric_mcp.api.ingest.networks import Kind
from millimetric_mcp.contract.attribution import RULES, Attribution, Rule

_SHOWN_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Explanation:
    """An attribution, the rule that fired, and what it and the rules before it looked at."""

    attribution: Attribution
    rule: Rule
    not_fired: tuple[Rule, ...]
    """The rules before it, in cascade order."""
    facts: Facts
    referrer_given: bool

    @property
    def click_ids(self) -> tuple[str, ...]:
        """The click ids seen, in cascade order and documented spelling; fbclid last."""
        return tuple(
            name for name in (*CLICK_ID_SOURCES, "fbclid") if name.lower() in self.facts.parameters
        )

    def to_json_dict(self) -> dict[str, object]:
        """The explanation as JSON values; what was not seen is null."""
        facts, attribution = self.facts, self.attribution
        listing = facts.listing
        return {
            "source": attribution.source,
            "medium": attribution.medium,
            "campaign": attribution.campaign,
            "confidence": attribution.confidence.value,
            "rule_id": attribution.rule_id,
            "fires_when": self.rule.fires_when,
            "seen": {
                "click_ids": list(self.click_ids),
                "utm_source": facts.parameters.get("utm_source"),
                "utm_medium": facts.parameters.get("utm_medium"),
                "utm_campaign": facts.parameters.get("utm_campaign"),
                "referrer_host": facts.referrer.host or None,
                "listed_as": listing and listing.name,
                "listed_kind": listing and listing.kind.value,
                "listed_entry": listing and listing.entry,
                "request_host": facts.request_host,
            },
            "not_fired": [rule.rule_id for rule in self.not_fired],
        }


def explain(url: str | None, referrer: str | None, request_host: str | None) -> Explanation:
    """How `classify` comes to its answer about the same arguments."""
    facts = read_facts(url, referrer, request_host)
    attribution = decide(facts)
    place = next(at for at, rule in enumerate(RULES) if rule.rule_id == attribution.rule_id)
    return Explanation(
        attribution, RULES[place], RULES[:place], facts, bool(referrer and referrer.strip())
    )


def render_explanation(explanation: Explanation) -> str:
    """The explanation as lines for a terminal; what strangers wrote can't reach its controls."""
    attribution, rule = explanation.attribution, explanation.rule
    answer = f"{_show(attribution.source)} / {_show(attribution.medium)}"
    seen = [f"  {name:<13}{text}" for name, text in _seen(explanation)]
    before = ", ".join(rule.rule_id for rule in explanation.not_fired)
    return "\n".join(
        [
            f"{answer}  ({attribution.confidence.value} confidence)",
            f"Rule {rule.rule_id}",
            f"  fires when   {rule.fires_when}",
            f"  gives        {rule.result}",
            "Seen",
            *(seen or ["  nothing that a rule looks at"]),
            "Rules before it, none of which fired",
            textwrap.fill(before or "none", 88, initial_indent="  ", subsequent_indent="  "),
        ]
    )


def _seen(explanation: Explanation) -> Iterator[tuple[str, str]]:
    facts = explanation.facts
    if explanation.click_ids:
        yield "click ids", ", ".join(explanation.click_ids)
    for name in ("utm_source", "utm_medium", "utm_campaign"):
        value = facts.parameters.get(name)
        if value is not None:
            yield name, _show(value) + _remark(facts, name, value)
    if facts.referrer.host:
        yield "referrer", _show(facts.referrer.host) + _listed(facts)
    elif explanation.referrer_given:
        yield "referrer", "given, but it names no site or app"
    if facts.request_host:
        yield "site", _show(facts.request_host)


def _remark(facts: Facts, name: str, value: str) -> str:
    if name == "utm_source" and facts.utm_source != value.lower():
        return f", which means {facts.utm_source}"
    if name == "utm_medium":
        return ", a paid one" if facts.utm_paid else ", not a paid one"
    return ""


def _listed(facts: Facts) -> str:
    listing = facts.listing
    if listing is None:
        return ", in none of the host tables"
    if listing.kind is Kind.PLAIN:
        return f", another service of {listing.name} by the entry {listing.entry}"
    return f", listed as {listing.name} ({listing.kind.value}) by the entry {listing.entry}"


def _show(text: str) -> str:
    """``text`` on one line, cut, with everything but visible characters spelt out."""
    cut = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
    if cut.isprintable():
        return cut
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut
    )
