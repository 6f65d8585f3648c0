"""Explanations of a classification, as text and as JSON."""

import json

import pytest

from millimetric_mcp.api.ingest.explanation import explain_classification, render_explanation
from millimetric_mcp.contract.attribution import FbclidMeaning
from millimetric_mcp.contract.rules import RULES

AD_CLICK = (
    "https://shop.example/?fbclid=1&utm_source=FB&utm_medium=CPC&utm_campaign=Spring",
    "https://m.facebook.com/",
    "shop.example",
)


def test_the_text_names_the_rule_its_input_and_the_rules_before_it():
    assert render_explanation(explain_classification(*AD_CLICK)) == "\n".join(
        [
            "facebook / paid  (high confidence)",
            "Rule fbclid_utm",
            "  applies if   fbclid, and utm_source is facebook or instagram (or fb, meta, an,",
            "               msg, ig)",
            "  result       facebook or instagram / paid",
            "Input",
            "  click ids    fbclid",
            "  utm_source   FB, which means facebook",
            "  utm_medium   CPC, a paid one",
            "  utm_campaign Spring",
            "  referrer     m.facebook.com, listed as facebook (social) by the entry",
            "               facebook.com",
            "  site         shop.example",
            "Rules before it that did not apply",
            "  gclid, msclkid, ttclid, li_fat_id, gbraid, wbraid, dclid, gad_source,",
            "  gad_campaignid, gclsrc, twclid, rdt_cid, ScCid, yclid, fb_ad_redirect",
        ]
    )


def test_the_json_has_the_same_content():
    found = json.loads(json.dumps(explain_classification(*AD_CLICK).to_json_dict()))
    assert found == {
        "source": "facebook",
        "medium": "paid",
        "campaign": "Spring",
        "confidence": "high",
        "rule_id": "fbclid_utm",
        "fires_when": "fbclid, and utm_source is facebook or instagram (or fb, meta, an, msg, ig)",
        "seen": {
            "click_ids": ["fbclid"],
            "utm_source": "FB",
            "utm_medium": "CPC",
            "utm_campaign": "Spring",
            "referrer_host": "m.facebook.com",
            "listed_as": "facebook",
            "listed_kind": "social",
            "listed_entry": "facebook.com",
            "request_host": "shop.example",
        },
        "not_fired": [rule.rule_id for rule in RULES[:15]],
    }


def test_click_ids_have_the_order_and_spelling_of_the_rules():
    found = explain_classification("https://shop.example/?sccid=1&fbclid=2&GCLID=3", None, None)
    assert found.click_ids == ("gclid", "ScCid", "fbclid")


@pytest.mark.parametrize(
    ("referrer", "line"),
    [
        (
            "https://trc.taboola.com/",
            "  referrer     trc.taboola.com, listed as taboola (ads) by the entry taboola.com",
        ),
        ("about:blank", "  referrer     given, but it is not a website or an app"),
        ("https://blog.example/", "  referrer     blog.example, in none of the host tables"),
        (
            "https://webmail.blog.example/",
            "  referrer     webmail.blog.example, listed as webmail (email) by the entry webmail.",
        ),
        (
            "https://pan.baidu.com/",
            "  referrer     pan.baidu.com, another service of baidu by the entry pan.baidu.com",
        ),
        (
            "android-app://com.slack/",
            "  referrer     com.slack, listed as slack (social) by the entry android-app://com.slack",
        ),
        (None, "  nothing that a rule looks at"),
        ("  ", "  nothing that a rule looks at"),
    ],
)
def test_the_text_shows_what_the_referrer_is(referrer, line):
    text = render_explanation(explain_classification(None, referrer, None))
    assert line in text.replace("\n" + " " * 15, " ").splitlines()


def test_the_text_says_that_a_medium_is_not_paid():
    text = render_explanation(
        explain_classification("https://shop.example/?utm_medium=email", None, None)
    )
    assert "  utm_medium   email, not a paid one" in text.splitlines()


@pytest.mark.parametrize(
    ("query", "fbclid", "rule_id", "not_tried"),
    [
        ("fbclid=1", "paid", "fbclid_only", {"fbclid_social"}),
        (
            "fbclid=1",
            "social",
            "fbclid_social",
            {"fb_ad_redirect", "fbclid_utm", "fbclid_only"},
        ),
        ("fbclid=1&utm_medium=cpc", "social", "utm_paid_unknown", {"fbclid_social"}),
        ("", "social", "direct", {"fb_ad_redirect", "fbclid_utm", "fbclid_only"}),
    ],
)
def test_only_rules_that_are_tried_are_listed(query, fbclid, rule_id, not_tried):
    found = explain_classification(
        f"https://shop.example/?{query}", None, None, fbclid=FbclidMeaning(fbclid)
    )
    listed = {rule.rule_id for rule in found.not_fired}
    assert found.rule.rule_id == rule_id
    assert listed.isdisjoint(not_tried)
    assert "gclid" in listed


def test_no_rule_is_listed_before_the_first():
    text = render_explanation(explain_classification("https://shop.example/?gclid=1", None, None))
    assert text.splitlines()[-2:] == ["Rules before it that did not apply", "  none"]


def test_long_values_are_cut_and_control_characters_escaped():
    url = f"https://shop.example/?utm_source=a%E2%80%AEb&utm_campaign={'c' * 300}"
    text = render_explanation(explain_classification(url, None, None))
    assert "  utm_source   a\\u202eb" in text.splitlines()
    assert f"  utm_campaign {'c' * 60}…" in text.splitlines()
