"""The cascade: every rule, their order, and what is read of a URL and a referrer."""

import subprocess
import sys

import pytest

from millimetric_mcp.api.ingest.classify import CLICK_ID_SOURCES, classify
from millimetric_mcp.contract.attribution import FbclidMeaning
from millimetric_mcp.contract.rules import RULES

SITE = "shop.example"
HOME = "https://shop.example/"
L_FACEBOOK = "https://l.facebook.com/l.php?u=x"

# For each rule: a query, a referrer, and the source and medium it must give.
EXAMPLES = {
    **{
        rule_id: (f"{rule_id}=1", None, source, "paid")
        for rule_id, source in CLICK_ID_SOURCES.items()
    },
    "fb_ad_redirect": ("fbclid=1", L_FACEBOOK, "facebook", "paid"),
    "fbclid_utm": ("fbclid=1&utm_source=ig", None, "instagram", "paid"),
    "utm_paid_facebook": ("utm_source=fb&utm_medium=cpc", None, "facebook", "paid"),
    "utm_paid_instagram": ("utm_source=ig&utm_medium=cpc", None, "instagram", "paid"),
    "utm_paid": ("utm_source=Taboola&utm_medium=cpc", None, "taboola", "paid"),
    "utm_paid_unknown": ("utm_medium=cpc", None, "unknown", "paid"),
    "fbclid_only": ("fbclid=1", None, "facebook", "paid"),
    "fbclid_social": ("fbclid=1", None, "facebook", "social"),
    "utm_explicit": ("utm_source=Newsletter&utm_medium=Email", None, "newsletter", "email"),
    "ref_facebook": ("", L_FACEBOOK, "facebook", "social"),
    "ref_instagram": ("", "https://l.instagram.com/", "instagram", "social"),
    "ref_social": ("", "https://t.co/x", "twitter", "social"),
    "ref_search": ("", "https://www.google.co.uk/", "google", "organic"),
    "ref_email": ("", "https://mail.google.com/", "email", "email"),
    "ref_ai": ("", "https://chatgpt.com/", "chatgpt", "referral"),
    "ref_ads": ("", "https://googleads.g.doubleclick.net/", "doubleclick", "paid"),
    "ref_internal": ("", "https://www.shop.example/a", "internal", "direct"),
    "direct": ("", None, "direct", "direct"),
    "ref_other": ("", "https://news.bbc.co.uk/1", "bbc.co.uk", "referral"),
}


def rule_of(query: str, referrer: str | None = None) -> str:
    return classify(f"{HOME}?{query}", referrer, SITE).rule_id


def source_of(referrer: str) -> str:
    return classify(HOME, referrer, SITE).source


def test_every_rule_has_an_example():
    assert set(EXAMPLES) == {rule.rule_id for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.rule_id)
def test_each_rule_returns_its_source_medium_and_confidence(rule):
    query, referrer, source, medium = EXAMPLES[rule.rule_id]
    fbclid = FbclidMeaning.SOCIAL if rule.rule_id == "fbclid_social" else FbclidMeaning.PAID
    found = classify(f"{HOME}?{query}", referrer, SITE, fbclid=fbclid)
    assert found == (source, medium, None, rule.confidence, rule.rule_id)


CLICK_IDS = [rule.rule_id for rule in RULES if rule.rule_id in CLICK_ID_SOURCES]


@pytest.mark.parametrize("place", range(len(CLICK_IDS)), ids=CLICK_IDS)
def test_the_first_click_id_in_rule_order_decides(place):
    remaining = CLICK_IDS[place:]
    everything = [f"{name}=1" for name in reversed(remaining)]
    query = "&".join(["utm_source=facebook", "utm_medium=cpc", "fbclid=1", *everything])
    assert rule_of(query, L_FACEBOOK) == remaining[0]


@pytest.mark.parametrize(
    ("query", "referrer", "rule_id"),
    [
        ("fbclid=1&utm_source=facebook&utm_medium=cpc", L_FACEBOOK, "fb_ad_redirect"),
        (
            "fbclid=1&utm_source=facebook&utm_medium=cpc",
            "https://lm.facebook.com",
            "fb_ad_redirect",
        ),
        ("fbclid=1&utm_source=facebook&utm_medium=cpc", "https://m.facebook.com/", "fbclid_utm"),
        ("fbclid=1&utm_source=meta", None, "fbclid_utm"),
        ("fbclid=1&utm_source=google&utm_medium=cpc", "https://t.co/", "utm_paid"),
        ("fbclid=1&utm_medium=cpc", None, "utm_paid_unknown"),
        ("fbclid=1&utm_medium=email", "https://t.co/", "fbclid_only"),
        ("fbclid=1&utm_source=newsletter", "https://t.co/", "utm_explicit"),
        ("utm_source=newsletter", HOME, "utm_explicit"),
        ("utm_medium=email", "https://t.co/", "ref_social"),
        ("utm_campaign=spring", None, "direct"),
        ("ref=producthunt&source=x", "https://www.bing.com/", "ref_search"),
    ],
)
def test_the_earlier_rule_wins(query, referrer, rule_id):
    assert rule_of(query, referrer) == rule_id


def test_a_listed_network_is_checked_before_the_own_site():
    facebook = "https://www.facebook.com/"
    assert classify(facebook, facebook, "www.facebook.com").rule_id == "ref_facebook"


PAID_MEDIUMS = [
    *("cpc", "cpm", "paid", "paid_social", "display"),
    *("ppc", "cpv", "cpa", "cpp", "paidsocial", "paid_search", "paidsearch"),
    *("banner", "retargeting", "remarketing"),
    *("cpl", "cpcv", "cpe", "cpi", "vcpm", "sem", "ads", "interstitial"),
    *("paid_media", "paid_video", "paidmedia", "paid_other", "social_cpc", "display_ads"),
    *("social_paid", "display_banner", "sea", "adwords", "google_pmax"),
]


@pytest.mark.parametrize("medium", PAID_MEDIUMS)
@pytest.mark.parametrize(
    "written",
    [
        pytest.param(str.upper, id="upper case"),
        pytest.param(lambda text: text.replace("_", "-"), id="hyphens"),
        pytest.param("  {} ".format, id="blanks around"),
    ],
)
def test_paid_mediums_are_recognised_in_any_case_and_spacing(medium, written):
    query = f"utm_source=x&utm_medium={written(medium).replace(' ', '%20')}"
    assert rule_of(query) == "utm_paid"


@pytest.mark.parametrize("medium", ["unpaid", "non-paid", "not_paid", "prepaid", "loads", "search"])
def test_a_medium_that_only_contains_a_paid_word_is_kept(medium):
    found = classify(f"{HOME}?utm_source=x&utm_medium={medium}", None, SITE)
    assert (found.medium, found.rule_id) == (medium, "utm_explicit")


@pytest.mark.parametrize("medium", ["paid social", "PAID+SOCIAL", "paid%20search", "Paid-Search"])
def test_spaces_and_hyphens_in_a_medium_are_read_as_underscores(medium):
    assert rule_of(f"utm_medium={medium}") == "utm_paid_unknown"


@pytest.mark.parametrize(
    "medium",
    ["organic", "cpcs", "referral", "social", "unpaid", "mcp", "cpanel", "affiliate", "email"],
)
def test_other_mediums_are_not_paid(medium):
    found = classify(f"{HOME}?utm_source=x&utm_medium={medium}", None, SITE)
    assert found[:2] == ("x", medium)


@pytest.mark.parametrize(
    ("source", "meaning"),
    [
        ("fb", "facebook"),
        ("META", "facebook"),
        ("an", "facebook"),
        ("MSG", "facebook"),
        ("Ig", "instagram"),
        ("th", "threads"),
        ("facebook.com", "facebook"),
        ("l.facebook.com", "facebook"),
        ("https://www.facebook.com/", "facebook"),
        ("instagram.com", "instagram"),
        ("com.instagram.android", "instagram"),
        ("android-app://com.linkedin.android", "linkedin"),
        ("t.co", "twitter"),
        ("ChatGPT.com", "chatgpt"),
        ("copilot.com", "copilot"),
        ("perplexity.ai", "perplexity"),
        ("google.com", "google"),
        ("mail.google.com", "email"),
        ("taboola.com", "taboola"),
        ("docs.google.com", "docs.google.com"),
        ("maps.bing.com", "maps.bing.com"),
        ("facebook.com.evil.test", "facebook.com.evil.test"),
        ("notreddit.com", "notreddit.com"),
        ("news.example", "news.example"),
        ("anther", "anther"),
        ("metafilter", "metafilter"),
        ("fb_ads", "fb_ads"),
    ],
)
@pytest.mark.parametrize("more", ["", "&utm_medium=cpc"], ids=["explicit", "paid"])
def test_aliases_apply_in_every_utm_rule_to_whole_values(source, meaning, more):
    assert classify(f"{HOME}?utm_source={source}{more}", None, SITE).source == meaning


@pytest.mark.parametrize("source", ["an", "msg", "facebook.com", "ig", "l.instagram.com"])
def test_a_meta_source_with_fbclid_is_paid(source):
    found = classify(f"{HOME}?fbclid=1&utm_source={source}&utm_medium=social", None, SITE)
    assert (found.medium, found.rule_id) == ("paid", "fbclid_utm")


@pytest.mark.parametrize(
    ("referrer", "source"),
    [
        ("https://l.instagram.com/", "instagram"),
        ("https://www.instagram.com/", "instagram"),
        ("android-app://com.instagram.android/", "instagram"),
        ("https://l.threads.com/", "threads"),
        ("https://www.threads.net/", "threads"),
        ("https://l.messenger.com/", "messenger"),
        ("https://l.wl.co/", "whatsapp"),
        ("https://web.whatsapp.com/", "whatsapp"),
        ("https://m.facebook.com/", "facebook"),
        ("https://t.co/x", "facebook"),
        ("https://www.google.com/", "facebook"),
        (None, "facebook"),
    ],
)
def test_fbclid_alone_is_credited_to_metas_network_by_the_referrer(referrer, source):
    found = classify(f"{HOME}?fbclid=1", referrer, SITE)
    assert found == (source, "paid", None, "medium", "fbclid_only")


@pytest.mark.parametrize(
    ("query", "referrer", "source", "medium", "rule_id"),
    [
        ("fbclid=1", None, "facebook", "social", "fbclid_social"),
        ("fbclid=1", L_FACEBOOK, "facebook", "social", "fbclid_social"),
        ("fbclid=1", "https://l.instagram.com/", "instagram", "social", "fbclid_social"),
        ("fbclid=1&utm_source=ig", None, "instagram", "social", "fbclid_social"),
        ("fbclid=1&utm_source=shop", L_FACEBOOK, "facebook", "social", "fbclid_social"),
        ("fbclid=1&utm_medium=email", None, "facebook", "email", "fbclid_social"),
        ("fbclid=1&utm_source=fb&utm_medium=post", L_FACEBOOK, "facebook", "post", "utm_explicit"),
        ("fbclid=1&utm_source=x&utm_medium=email", None, "x", "email", "utm_explicit"),
        ("fbclid=1&utm_source=x", None, "x", "unknown", "utm_explicit"),
        ("fbclid=1&utm_medium=cpc", None, "unknown", "paid", "utm_paid_unknown"),
        ("fbclid=1&utm_source=ig&utm_medium=cpc", None, "instagram", "paid", "fbclid_utm"),
        ("fbclid=1&utm_medium=paid", L_FACEBOOK, "facebook", "paid", "fb_ad_redirect"),
        ("fbclid=1&gclid=1", L_FACEBOOK, "google", "paid", "gclid"),
        ("", L_FACEBOOK, "facebook", "social", "ref_facebook"),
    ],
)
def test_fbclid_counts_as_social_unless_the_medium_says_otherwise_when_set_so(
    query, referrer, source, medium, rule_id
):
    found = classify(f"{HOME}?{query}", referrer, SITE, fbclid=FbclidMeaning.SOCIAL)
    assert (found.source, found.medium, found.rule_id) == (source, medium, rule_id)


@pytest.mark.parametrize(
    "macro",
    [
        *("{{site_source_name}}", "{{ campaign.name }}", "{gclid}", "{}", "${X}", "__CAMPAIGN__"),
        *("__aid__", "{keyword}_{device}", "{{a}}-{{b}}", "%7B%7Bad.id%7D%7D", "+%7Bx%7D+"),
        *("%%SITE%%", "%%DEVICE%%", "*|CAMPAIGN|*", "*%7CMC:SUBJECT%7C*"),
        "%25%25SITE%25%25",
    ],
)
def test_an_unreplaced_macro_is_an_absent_parameter(macro):
    for name in CLICK_ID_SOURCES:
        assert rule_of(f"{name}={macro}") == "direct"
    found = classify(
        f"{HOME}?fbclid={macro}&utm_source={macro}&utm_medium={macro}&utm_campaign={macro}",
        "https://t.co/x",
        SITE,
    )
    assert (found.source, found.campaign, found.rule_id) == ("twitter", None, "ref_social")


@pytest.mark.parametrize(
    "campaign",
    ["spring_{{ad.name}}", "{sale", "sale}", "__x", "x__", "_x_", "a{b}c", "{a} and b", "|*"],
)
def test_a_value_that_only_contains_a_macro_is_kept(campaign):
    found = classify(f"{HOME}?utm_source=x&utm_campaign={campaign}", None, SITE)
    assert found.campaign == campaign


def test_the_campaign_is_kept_as_written_with_every_rule():
    for query, referrer, _, _ in EXAMPLES.values():
        url = f"{HOME}?{query}&utm_campaign=%20Spring%20SALE%20"
        assert classify(url, referrer, SITE).campaign == "Spring SALE"


@pytest.mark.parametrize(
    ("url", "rule_id"),
    [
        pytest.param("https://shop.example/?GCLID=1", "gclid", id="names in any case"),
        pytest.param("https://shop.example/?sccid=1", "ScCid", id="ScCid in any case"),
        pytest.param("https://shop.example/?%67clid=1", "gclid", id="an encoded name"),
        pytest.param("https://shop.example/?gclid=", "direct", id="an empty value"),
        pytest.param("https://shop.example/?gclid", "direct", id="no value"),
        pytest.param("https://shop.example/?gclid=%20%09", "direct", id="a blank value"),
        pytest.param("https://shop.example/?gclid=%00", "direct", id="nothing but NUL"),
        pytest.param("https://shop.example/?gclid=&gclid=1", "gclid", id="the first with a value"),
        pytest.param("https://shop.example/?a=1;gclid=1", "direct", id="; separates nothing"),
        pytest.param("https://shop.example/?xgclid=1", "direct", id="a longer name"),
        pytest.param("https://shop.example/gclid=1", "direct", id="the path"),
        pytest.param("https://shop.example/?a=1?xgclid=1", "direct", id="a longer name behind ?"),
        pytest.param("shop.example/?gclid=1", "gclid", id="no scheme"),
        pytest.param("/landing?gclid=1", "gclid", id="no host"),
        pytest.param("?gclid=1", "gclid", id="a query alone"),
        pytest.param("https://shop.example:99999/?gclid=1", "gclid", id="a bad port"),
        pytest.param("http://[::1?gclid=1", "gclid", id="broken IPv6"),
        pytest.param("https://?gclid=1", "gclid", id="an empty host"),
        pytest.param("", "direct", id="nothing"),
    ],
)
def test_parameters_are_read_from_invalid_urls(url, rule_id):
    assert classify(url, None, SITE).rule_id == rule_id


@pytest.mark.parametrize(
    "rest",
    [
        "?utm_source=facebook&amp;utm_medium=cpc&amp;utm_campaign=Really?",
        "?utm_source=facebook&AMP;utm_medium=cpc&amp;amp;utm_campaign=Really?",
        "?utm_source=facebook&#038;utm_medium=cpc&#38;utm_campaign=Really?",
        "?utm_source=facebook&#x26;utm_medium=cpc&amp;#038;utm_campaign=Really?",
        "?utm_source=facebook&amp%3Butm_medium=cpc&amp%3butm_campaign=Really?",
        "?&amp;utm_source=facebook&amp;utm_medium=cpc&amp;utm_campaign=Really?",
        "?amp;utm_source=facebook&utm_medium=cpc&utm_campaign=Really?",
        "?p=1?utm_source=facebook&utm_medium=cpc&utm_campaign=Really?",
        "?utm_source=facebook?UTM_MEDIUM=cpc?utm_campaign=Really?",
        "??utm_source=facebook&utm_medium=cpc&utm_campaign=Really?",
        "?u=/?utm_source=facebook&utm_medium=cpc&utm_campaign=Really?",
        "#utm_source=facebook&utm_medium=cpc&utm_campaign=Really?",
        "#?utm_source=facebook&utm_medium=cpc&utm_campaign=Really?",
        "#!utm_source=facebook&utm_medium=cpc&utm_campaign=Really?",
        "#/utm_source=facebook&utm_medium=cpc&utm_campaign=Really?",
        "#/signup?utm_source=facebook&utm_medium=cpc&utm_campaign=Really?",
        "#!/signup?p=1&amp;utm_source=facebook&amp;utm_medium=cpc&amp;utm_campaign=Really?",
        "?lang=en#/signup?utm_source=facebook&utm_medium=cpc&utm_campaign=Really?",
        "?utm_source=&utm_medium={x}#/a?utm_source=facebook&utm_medium=cpc&utm_campaign=Really?",
    ],
)
def test_parameters_are_read_from_fragments_and_broken_queries(rest):
    found = classify(f"{HOME}{rest}", None, SITE)
    assert found == ("facebook", "paid", "Really?", "high", "utm_paid_facebook")


@pytest.mark.parametrize(
    ("rest", "rule_id"),
    [
        ("#gclid=1", "gclid"),
        ("#/x?gclid=1", "gclid"),
        ("?a=1&amp;gclid=1", "gclid"),
        ("?a=1?gclid=1", "gclid"),
        ("?gclid=1#utm_source=x", "gclid"),
        ("?utm_source=x#gclid=1", "utm_explicit"),
        ("?utm_source=x&utm_medium=email#/?utm_source=y&utm_medium=cpc", "utm_explicit"),
        ("?fbclid=1#/signup?utm_source=ig&utm_medium=cpc", "fbclid_utm"),
        ("?fbclid=1#gclid=1", "fbclid_only"),
        ("#section", "direct"),
        ("#:~:text=gclid", "direct"),
        ("?a=1&ampgclid=1", "direct"),
    ],
)
def test_the_query_is_read_before_the_fragment(rest, rule_id):
    assert classify(f"{HOME}{rest}", None, SITE).rule_id == rule_id


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("a%20b+c", "a b c"),
        ("face%62ook", "facebook"),
        ("%zz%4", "%zz%4"),
        ("%ff%fe", "\ufffd\ufffd"),
        ("a%00b%1b[31m", "ab[31m"),
        ("%F0%9F%8E%89", "🎉"),
        ("a\ud800b", "a\ufffdb"),
        ("ÄÖ", "äö"),
    ],
)
def test_a_utm_value_is_decoded_without_control_characters(value, source):
    found = classify(f"{HOME}?utm_source={value}", None, SITE).source
    assert found == source
    assert found.encode()


def test_the_first_of_repeated_parameters_counts():
    url = f"{HOME}?utm_source=a&UTM_SOURCE=b&utm_source=c"
    assert classify(url, None, SITE).source == "a"


@pytest.mark.parametrize(
    "referrer",
    [
        None,
        "",
        "   ",
        "about:blank",
        "javascript:alert(1)",
        "data:text/html,google.com",
        "file:///etc/passwd",
        "file://server/share",
        "mailto:someone@google.com",
        "blob:https://google.com/1",
        "chrome-extension://gighmmpiobklfepjocnamgkkbiglidom/",
        "undefined",
        "null",
        "(direct)",
        "-",
        "/relative/path.html",
        "?q=google.com",
        "http://",
        "http://..",
        "http://a..b/",
        "http://[::1",
        "http://[zz::1]/",
        "https://facebook.com:x@evil[.test/",
        "http://ex ample.com/",
        "http://%",
        "https://\x00/",
        "https://\ud800.com/",
        "https://" + "a" * 254,
        "Google search",
    ],
)
def test_a_referrer_outside_the_web_is_direct(referrer):
    assert classify(HOME, referrer, SITE).rule_id == "direct"


@pytest.mark.parametrize(
    "referrer",
    [
        "https://www.google.com",
        "HTTP://WWW.GOOGLE.COM/",
        "  https://google.com/",
        "https://www.google.com:443/search?q=x",
        "https://www.google.com:99999/",
        "https://www.google.com./",
        "//www.google.com/",
        "www.google.com",
        "google.com/search?q=a",
        "google.com:443",
        "https://user:secret@www.google.com/",
        "https://facebook.com@www.google.com/",
        "https:\\\\www.google.com\\@facebook.com",
        "https://www.google.com?q=facebook.com",
        "https://www.google.com#https://facebook.com",
        "https://www%2Egoogle.com/",
        "https://ｗｗｗ.ｇｏｏｇｌｅ.com/",
        "android-app://com.google.android.googlequicksearchbox/https/www.google.com",
        "Android-App://com.google.android.googlequicksearchbox",
    ],
)
def test_the_host_is_found_in_every_form_of_a_referrer(referrer):
    assert classify(HOME, referrer, SITE)[:2] == ("google", "organic")


@pytest.mark.parametrize(
    ("referrer", "source"),
    [
        ("https://news.bbc.co.uk/1", "bbc.co.uk"),
        ("https://a.b.c.example.com/", "example.com"),
        ("https://someone.github.io/", "someone.github.io"),
        ("https://github.io/", "github.io"),
        ("https://docs.google.com/", "google.com"),
        ("https://BLOG.Shop.Example./", "shop.example"),
        ("http://192.168.0.7:8080/", "192.168.0.7"),
        ("http://[2001:DB8:0::1]:8080/", "[2001:db8::1]"),
        ("http://intranet/", "intranet"),
        ("https://blog.bücher.example/", "xn--bcher-kva.example"),
        ("https://blog.xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("https://faß.de/", "xn--fa-hia.de"),
        ("https://βόλος.com/", "xn--nxasmm1c.com"),
        ("https://κλαρα-σωλις.ευ/", "xn----ylba7abgd9bnh0e.xn--qxa6a"),
        ("https://نامه\u200cای.com/", "xn--mgba3gch31f060k.com"),
        ("https://ශ්\u200dරී.com/", "xn--10cl1a0b660p.com"),
        ("https://MÜNCHEN.example/", "xn--mnchen-3ya.example"),
        ("https://www.i❤.ws/", "xn--i-7iq.ws"),
        ("https://Ｂｌｏｇ。example/", "blog.example"),
        ("android-app://com.example.reader/", "com.example.reader"),
        ("ios-app://544007664/", "544007664"),
        ("https://facebook.com@evil.test/", "evil.test"),
        ("https://facebook.com:x@evil.test/", "evil.test"),
        ("https://evil.test\\@facebook.com/", "evil.test"),
    ],
)
def test_an_unlisted_referrer_is_named_by_its_registrable_domain(referrer, source):
    assert classify(HOME, referrer, SITE)[:2] == (source, "referral")


@pytest.mark.parametrize(
    ("request_host", "referrer"),
    [
        ("shop.example", "https://www.shop.example/a"),
        ("www.shop.example", "https://shop.example/a"),
        ("SHOP.example.", "https://shop.example/a"),
        ("shop.example:8443", "https://shop.example/a"),
        ("localhost", "http://localhost:3000/"),
        ("localhost:8080", "http://localhost:3000/"),
        ("[2001:db8::1]", "http://[2001:db8:0::1]:80/"),
        ("bücher.example", "https://xn--bcher-kva.example/"),
        ("faß.de", "https://www.xn--fa-hia.de/"),
        ("xn--strae-oqa.example", "https://straße.example/a"),
    ],
)
def test_a_referrer_on_the_same_site_is_internal(request_host, referrer):
    assert classify(None, referrer, request_host).rule_id == "ref_internal"


@pytest.mark.parametrize(
    ("request_host", "referrer"),
    [
        ("shop.example", "https://blog.shop.example/"),
        ("shop.example", "https://shop.example.evil.test/"),
        ("shop.example", "https://notshop.example/"),
        ("", "https://shop.example/"),
        (None, "https://shop.example/"),
        ("s" * 5000, "https://shop.example/"),
    ],
)
def test_a_referrer_on_another_host_is_not_internal(request_host, referrer):
    assert classify(None, referrer, request_host).rule_id == "ref_other"


def test_importing_the_classifier_and_the_enrichment_loads_no_table():
    code = (
        "import sys, millimetric_mcp.api.ingest.classify, millimetric_mcp.api.ingest.enrich\n"
        "from millimetric_mcp.api.ingest.networks import load_networks\n"
        "heavy = {'publicsuffixlist', 'ua_parser', 'iptocc'} & set(sys.modules)\n"
        "sys.exit(bool(heavy) or load_networks.cache_info().currsize)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
