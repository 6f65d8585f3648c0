"""No input makes the classifier raise, and whatever it answers can be stored."""

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millimetric_mcp.api.ingest.address import host_of
from millimetric_mcp.api.ingest.classify import classify
from millimetric_mcp.api.ingest.explanation import explain_classification, render_explanation
from millimetric_mcp.contract.attribution import FbclidMeaning
from millimetric_mcp.contract.rules import RULES

CONFIDENCES = {rule.rule_id: rule.confidence for rule in RULES}

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)
PIECES = st.sampled_from(
    [
        *("https://", "http:", "//", "android-app://", "javascript:", "://", "/", "\\", "?", "#"),
        *("@", ":", "[", "]", "[::1]", ".", "..", "www.", "&", "=", ";", "%", "%zz", "%00", "%ff"),
        *("google.com", "l.facebook.com", "shop.example", "mail.yahoo.co.jp", "webmail.a.org"),
        *("gclid", "fbclid=1", "utm_source", "utm_medium=cpc", "UTM_SOURCE=ig", "utm_campaign"),
        *("&amp;", "&#038;", "&amp%3B", "#/x?", "#utm_medium=cpc", "{{", "}}", "{x}", "__X__"),
        *("utm_source=chatgpt.com", "utm_source=https://l.facebook.com/", "utm_source=th"),
        *("com.google.android.gm", "linkedin.android", "l.instagram.com", "trc.taboola.com"),
        *("utm_source=com.instagram.android", "gad_source=1", "fa\u00df.de", "a\u200db.com"),
        *("\x00", "\ud800", "ü", "\u202e", "\u2028", " ", "\t", "1", "99999", "xn--a", "a" * 64),
    ]
)
URL_LIKE = st.lists(PIECES | ANY_TEXT, max_size=12).map("".join)
INPUTS = st.none() | URL_LIKE


@settings(max_examples=1500, deadline=None)
@given(url=INPUTS, referrer=INPUTS, request_host=INPUTS, fbclid=st.sampled_from(FbclidMeaning))
@example(
    url="?utm_source=\ud800",
    referrer="https://\udfff",
    request_host="\ud800",
    fbclid=FbclidMeaning.PAID,
)
@example(
    url="?utm_source=%C4%B0.com",
    referrer="https://[::1%25\x00]/",
    request_host="[",
    fbclid=FbclidMeaning.SOCIAL,
)
def test_any_input_is_classified_as_storable_text(url, referrer, request_host, fbclid):
    found = classify(url, referrer, request_host, fbclid=fbclid)
    assert found.confidence is CONFIDENCES[found.rule_id]
    for value in (found.source, found.medium, found.campaign or "x"):
        assert value
        assert value.encode()
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", value)
    assert (found.source, found.medium) == (found.source.lower(), found.medium.lower())
    assert found == explain_classification(url, referrer, request_host, fbclid=fbclid).attribution


@settings(max_examples=500, deadline=None)
@given(url=INPUTS, referrer=INPUTS)
def test_any_input_is_explained_as_printable_text(url, referrer):
    text = render_explanation(explain_classification(url, referrer, None))
    assert all(line.isprintable() for line in text.splitlines())
    assert text.encode()


@settings(max_examples=800, deadline=None)
@given(INPUTS)
def test_a_canonical_host_does_not_change_again(url):
    host = host_of(url)
    assert host is None or re.fullmatch(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]", host)
    assert host is None or host_of(f"https://{host}/") == host


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda n: "https://" + "a" * n, id="one endless host"),
        pytest.param(lambda n: "https://" + "a." * n, id="endless labels"),
        pytest.param(lambda n: "a." * n + "@", id="no scheme"),
        pytest.param(lambda n: "https://" + "a@" * n + "[", id="endless user names"),
        pytest.param(lambda n: "a" * n + ":", id="an endless scheme"),
        pytest.param(lambda n: " " * n, id="blanks"),
        pytest.param(lambda n: "https://a.example/?" + "&" * n, id="empty parameters"),
        pytest.param(
            lambda n: "https://a.example/?" + "utm_source=%00&" * n, id="blank parameters"
        ),
        pytest.param(lambda n: "https://a.example/?utm_source=" + "%" * n, id="broken codes"),
        pytest.param(lambda n: "https://a.example/" + "?#" * n, id="delimiters"),
        pytest.param(lambda n: "https://a.example/?" + "?gclid=" * n, id="many queries"),
        pytest.param(lambda n: "https://a.example/?a" + "&amp;" * n, id="many escapes"),
        pytest.param(lambda n: "https://a.example/?a" + "&amp;amp" * n, id="unfinished escapes"),
        pytest.param(lambda n: "https://a.example/#" + "/?utm_source" * n, id="a long fragment"),
        pytest.param(lambda n: "https://a.example/?utm_source=" + "{" * n + "}", id="braces"),
        pytest.param(lambda n: "https://a.example/?utm_source=" + "{x}$" * n + "}", id="macros"),
        pytest.param(lambda n: "https://a.example/?utm_source=" + "__" * n + "-__", id="dunders"),
        pytest.param(lambda n: "https://a.example/?utm_medium=" + "cp_" * n, id="many words"),
        pytest.param(lambda n: "https://a.example/?utm_source=" + "a." * n + "com", id="a host"),
    ],
)
def test_the_time_for_a_huge_input_is_linear(make):
    text = make(30_000)
    started = time.process_time()
    found = classify(text, text, text)
    assert found.rule_id in CONFIDENCES
    assert time.process_time() - started < 1  # some ms, but seconds where it grows with the square
