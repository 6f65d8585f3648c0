"""Explains a classification: as text, and as JSON."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from millimetric_mcp.api.ingest.classify import (
    CLICK_ID_SOURCES,
    FBCLID_RULES,
    FBCLID_SOCIAL_RULE,
    Facts,
    decide,
    read_facts,
)
from millimetric_mcp.api.ingest.networks import Kind
from millimetric_mcp.contract.attribution import Attribution, FbclidMeaning
from millimetric_mcp.contract.rules import RULES, Rule

_MAX_SHOWN_CHARS = 60
_WIDTH_CHARS = 80
_UTM_NAMES = ("utm_source", "utm_medium", "utm_campaign")


@dataclass(frozen=True, slots=True)
class Explanation:
    """An attribution, its rule, the rules before it, and what they looked at."""

    attribution: Attribution
    rule: Rule
    not_fired: tuple[Rule, ...]
    """The rules before it, in order."""
    facts: Facts
    referrer_given: bool

    @property
    def click_ids(self) -> tuple[str, ...]:
        """The names of the click ids in the URL, in the rules' order; fbclid last."""
        return tuple(
            name for name in (*CLICK_ID_SOURCES, "fbclid") if name.lower() in self.facts.parameters
        )

    def to_json_dict(self) -> dict[str, object]:
        """Return the explanation as JSON values; missing ones are null."""
        facts, attribution, listing = self.facts, self.attribution, self.facts.listing
        return {
            "source": attribution.source,
            "medium": attribution.medium,
            "campaign": attribution.campaign,
            "confidence": attribution.confidence.value,
            "rule_id": attribution.rule_id,
            "fires_when": self.rule.fires_when,
            "seen": {
                "click_ids": list(self.click_ids),
                **{name: facts.parameters.get(name) for name in _UTM_NAMES},
                "referrer_host": facts.referrer.host or None,
                "listed_as": listing and listing.name,
                "listed_kind": listing and listing.kind.value,
                "listed_entry": listing and listing.entry,
                "request_host": facts.request_host,
            },
            "not_fired": [rule.rule_id for rule in self.not_fired],
        }


def explain_classification(
    url: str | None,
    referrer: str | None,
    request_host: str | None,
    *,
    fbclid: FbclidMeaning = FbclidMeaning.PAID,
) -> Explanation:
    """Return how `classify` classifies the same arguments."""
    facts = read_facts(url, referrer, request_host)
    attribution = decide(facts, fbclid=fbclid)
    is_paid = fbclid is FbclidMeaning.PAID or facts.utm_paid
    not_tried = {FBCLID_SOCIAL_RULE} if is_paid else FBCLID_RULES
    tried = [rule for rule in RULES if rule.rule_id not in not_tried]
    place = next(at for at, rule in enumerate(tried) if rule.rule_id == attribution.rule_id)
    return Explanation(
        attribution, tried[place], tuple(tried[:place]), facts, bool(referrer and referrer.strip())
    )


def render_explanation(explanation: Explanation) -> str:
    """Return the explanation as lines for a terminal, without control characters."""
    attribution, rule = explanation.attribution, explanation.rule
    source, medium = _show(attribution.source), _show(attribution.medium)
    before = ", ".join(rule.rule_id for rule in explanation.not_fired)
    return "\n".join(
        [
            f"{source} / {medium}  ({attribution.confidence.value} confidence)",
            f"Rule {rule.rule_id}",
            _wrap("applies if", rule.fires_when),
            _wrap("result", rule.result),
            "Input",
            *(list(_render_input(explanation)) or ["  nothing that a rule looks at"]),
            "Rules before it that did not apply",
            textwrap.fill(
                before or "none", _WIDTH_CHARS, initial_indent="  ", subsequent_indent="  "
            ),
        ]
    )


def _render_input(explanation: Explanation) -> Iterator[str]:
    facts = explanation.facts
    if explanation.click_ids:
        yield _wrap("click ids", ", ".join(explanation.click_ids))
    for name in _UTM_NAMES:
        if name in facts.parameters:
            yield _wrap(name, _show(facts.parameters[name]) + _remark(facts, name))
    if facts.referrer.host:
        yield _wrap("referrer", _show(facts.referrer.host) + _describe_listing(facts))
    elif explanation.referrer_given:
        yield _wrap("referrer", "given, but it is not a website or an app")
    if facts.request_host:
        yield _wrap("site", _show(facts.request_host))


def _remark(facts: Facts, name: str) -> str:
    if name == "utm_source" and facts.utm_source != facts.parameters[name].lower():
        return f", which means {facts.utm_source}"
    if name == "utm_medium":
        return ", a paid one" if facts.utm_paid else ", not a paid one"
    return ""


def _describe_listing(facts: Facts) -> str:
    listing = facts.listing
    if listing is None:
        return ", in none of the host tables"
    if listing.kind is Kind.PLAIN:
        return f", another service of {listing.name} by the entry {listing.entry}"
    return f", listed as {listing.name} ({listing.kind.value}) by the entry {listing.entry}"


def _wrap(name: str, text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH_CHARS,
        initial_indent=f"  {name:<13}",
        subsequent_indent=" " * 15,
        break_on_hyphens=False,
    )


def _show(text: str) -> str:
    """Return ``text`` cut, with invisible characters written as escapes."""
    cut = text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}…"
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut
    )
