"""What the explanation of a classification says, to people and to machines."""

import json

import pytest

from millimetric_mcp.api.ingest.explanation import explain, render_explanation
from millimetric_mcp.contract.attribution import RULES

AD_CLICK = (
    "https://shop.example/?fbclid=1&utm_source=FB&utm_medium=CPC&utm_campaign=Spring",
    "https://m.facebook.com/",
    "shop.example",
)


def test_the_explanation_reads_as_a_person_would_tell_it():
    assert render_explanation(explain(*AD_CLICK)) == "\n".join(
        [
            "facebook / paid  (high confidence)",
            "Rule fbclid_utm",
            "  fires when   fbclid, and utm_source is facebook, instagram or meta (or fb, ig)",
            "  gives        facebook or instagram / paid",
            "Seen",
            "  click ids    fbclid",
            "  utm_source   FB, which means facebook",
            "  utm_medium   CPC, a paid one",
            "  utm_campaign Spring",
            "  referrer     m.facebook.com, listed as facebook (social) by the entry facebook.com",
            "  site         shop.example",
            "Rules before it, none of which fired",
            "  gclid, msclkid, ttclid, li_fat_id, gbraid, wbraid, dclid, twclid, rdt_cid, ScCid,",
            "  yclid, fb_ad_redirect",
        ]
    )


def test_the_json_form_holds_the_same_facts():
    found = json.loads(json.dumps(explain(*AD_CLICK).to_json_dict()))
    assert found == {
        "source": "facebook",
        "medium": "paid",
        "campaign": "Spring",
        "confidence": "high",
        "rule_id": "fbclid_utm",
        "fires_when": "fbclid, and utm_source is facebook, instagram or meta (or fb, ig)",
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
        "not_fired": [rule.rule_id for rule in RULES[:12]],
    }


def test_the_click_ids_stand_in_the_cascades_order_and_spelling():
    found = explain("https://shop.example/?sccid=1&fbclid=2&GCLID=3", None, None)
    assert found.click_ids == ("gclid", "ScCid", "fbclid")


@pytest.mark.parametrize(
    ("referrer", "line"),
    [
        ("about:blank", "  referrer     given, but it names no site or app"),
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
def test_the_referrer_is_shown_as_it_was_understood(referrer, line):
    assert line in render_explanation(explain(None, referrer, None)).splitlines()


def test_a_medium_without_a_price_is_said_to_be_none():
    text = render_explanation(explain("https://shop.example/?utm_medium=email", None, None))
    assert "  utm_medium   email, not a paid one" in text.splitlines()


def test_the_first_rule_has_none_before_it():
    text = render_explanation(explain("https://shop.example/?gclid=1", None, None))
    assert text.splitlines()[-2:] == ["Rules before it, none of which fired", "  none"]


def test_what_strangers_wrote_is_cut_and_cannot_steer_a_terminal():
    url = f"https://shop.example/?utm_source=a%E2%80%AEb&utm_campaign={'c' * 300}"
    text = render_explanation(explain(url, None, None))
    assert "  utm_source   a\\u202eb" in text.splitlines()
    assert f"  utm_campaign {'c' * 100}…" in text.splitlines()
