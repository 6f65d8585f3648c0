"""The host tables: what they hold, that they are sound, and that no look-alike gets in."""

from collections import Counter

import pytest
from publicsuffixlist import PublicSuffixList

from millimetric_mcp.api.ingest.address import registrable_domain
from millimetric_mcp.api.ingest.classify import classify
from millimetric_mcp.api.ingest.networks import Kind, load_networks

HOME = "https://shop.example/"
TABLE = load_networks()
MEDIUMS = {
    Kind.SEARCH: "organic",
    Kind.SOCIAL: "social",
    Kind.EMAIL: "email",
    Kind.AI: "referral",
    Kind.ADS: "paid",
    Kind.PLAIN: "referral",
}


def answer(referrer):
    found = classify(HOME, referrer, "shop.example")
    return found.source, found.medium


def test_the_tables_hold_hundreds_of_hosts_of_each_kind():
    counts = Counter(listing.kind for listing in TABLE.hosts.values())
    assert counts[Kind.SEARCH] > 1000
    assert min(counts[Kind.SOCIAL], counts[Kind.EMAIL]) > 300
    assert min(counts[Kind.AI], counts[Kind.ADS]) > 60
    assert len(TABLE.apps) > 150


def test_every_listed_host_gets_the_medium_of_its_table():
    for host, listing in TABLE.hosts.items():
        expected = registrable_domain(host) if listing.kind is Kind.PLAIN else listing.source
        for referrer in (f"https://{host}/", f"http://www.{host}:80/"):
            assert answer(referrer) == (expected, MEDIUMS[listing.kind]), referrer


@pytest.mark.parametrize("scheme", ["android-app://", ""], ids=["android-app", "bare"])
def test_every_listed_app_gets_the_medium_of_its_table(scheme):
    for package, listing in TABLE.apps.items():
        assert answer(f"{scheme}{package}/") == (listing.source, MEDIUMS[listing.kind])
        assert answer(f"{scheme}{package.upper()}") == (listing.source, MEDIUMS[listing.kind])


def test_an_app_is_found_by_its_alias():
    for package, listing in TABLE.apps.items():
        alias = package.partition(".")[2]
        assert answer(f"android-app://{alias}/")[1] == MEDIUMS[listing.kind], alias


def test_an_app_is_found_by_its_web_host():
    for host, listing in TABLE.hosts.items():
        expected = host if listing.kind is Kind.PLAIN else listing.source
        assert answer(f"android-app://{host}/") == (expected, MEDIUMS[listing.kind]), host


@pytest.mark.parametrize(
    ("referrer", "source", "medium"),
    [
        ("android-app://m.facebook.com/", "facebook", "social"),
        ("android-app://www.facebook.com", "facebook", "social"),
        ("android-app://www.google.com/", "google", "organic"),
        ("android-app://t.co/", "twitter", "social"),
        ("android-app://linkedin.android/", "linkedin", "social"),
        ("android-app://www.bbc.co.uk/news", "bbc.co.uk", "referral"),
        ("android-app://com.example.reader/", "com.example.reader", "referral"),
        ("com.google.android.gm", "email", "email"),
        ("com.reddit.frontpage", "reddit", "social"),
        ("org.telegram.messenger", "telegram", "social"),
        ("com.google.android.googlequicksearchbox", "google", "organic"),
        ("com.Slack", "slack", "social"),
    ],
)
def test_an_app_is_found_in_every_form_of_its_name(referrer, source, medium):
    assert answer(referrer) == (source, medium)


def test_a_host_below_a_listed_one_matches_unless_the_entry_is_for_one_host():
    for host, listing in TABLE.hosts.items():
        is_listed = TABLE.host_listing(f"zz9.{host}") is listing
        assert is_listed is not listing.alone, host


@pytest.mark.parametrize("disguise", ["https://{}.evil.test/", "https://evil.test/{}/?u={}#{}"])
def test_a_listed_host_inside_another_address_does_not_match(disguise):
    for host in TABLE.hosts:
        referrer = disguise.replace("{}", host)
        assert answer(referrer) == ("evil.test", "referral"), referrer


def test_a_listed_host_as_a_user_name_does_not_match():
    for host in TABLE.hosts:
        assert answer(f"https://{host}@evil.test/") == ("evil.test", "referral")
        assert answer(f"https://{host}:{host}@evil.test/") == ("evil.test", "referral")


def test_a_longer_name_does_not_match():
    for host in TABLE.hosts:
        if registrable_domain(host) == host:
            assert answer(f"https://not{host}/") == (f"not{host}", "referral")


def test_a_package_as_a_web_host_does_not_match():
    for package in TABLE.apps:
        assert answer(f"https://{package}/")[1] == "referral"


def test_no_entry_is_repeated_or_implied_by_another():
    for host, listing in TABLE.hosts.items():
        _, dot, above = host.partition(".")
        while dot:
            other = TABLE.hosts.get(above)
            same = other is not None and other[:2] == listing[:2] and not other.alone
            assert not same, f"{host} is redundant: {above} is listed"
            _, dot, above = above.partition(".")


def test_hosts_are_canonical_and_have_a_public_suffix():
    suffixes = PublicSuffixList(accept_unknown=False)
    for host in TABLE.hosts:
        assert host == host.lower().strip(".")
        assert not host.startswith("www.")
        assert suffixes.publicsuffix(host), host


def test_googles_country_domains_have_public_suffixes():
    registries = PublicSuffixList(only_icann=True, accept_unknown=False)
    domains = [host for host in TABLE.hosts if host.startswith("google.")]
    assert len(domains) > 220
    for domain in domains:
        assert registries.publicsuffix(domain) == domain.removeprefix("google."), domain


@pytest.mark.parametrize("ending", ["com.de", "evil", "org", "dev", "co.com", "tv.evil.test"])
def test_googles_name_with_another_suffix_is_not_google(ending):
    assert answer(f"https://www.google.{ending}/")[1] == "referral"


def test_facebook_and_instagram_are_social_networks_only():
    listings = [*TABLE.hosts.values(), *TABLE.apps.values()]
    kinds = {each.kind for each in listings if each.name in {"facebook", "instagram"}}
    assert kinds == {Kind.SOCIAL}


@pytest.mark.parametrize(
    ("referrer", "source", "medium"),
    [
        ("https://mail.google.com/", "email", "email"),
        ("https://docs.google.com/", "google.com", "referral"),
        ("https://www.google.com.au/", "google", "organic"),
        ("https://images.google.fr/", "google", "organic"),
        ("https://maps.google.de/", "google.de", "referral"),
        ("https://news.google.com/", "google", "organic"),
        ("https://gemini.google.com/", "gemini", "referral"),
        ("https://r.search.yahoo.com/", "yahoo", "organic"),
        ("https://uk.yahoo.com/", "yahoo", "organic"),
        ("https://www.yahoo.co.jp/", "yahoo", "organic"),
        ("https://finance.yahoo.com/", "yahoo.com", "referral"),
        ("https://mail.yahoo.co.jp/", "email", "email"),
        ("https://us-mg5.mail.yahoo.com/", "email", "email"),
        ("https://yandex.com.tr/", "yandex", "organic"),
        ("https://ya.ru/", "yandex", "organic"),
        ("https://mail.yandex.ru/", "email", "email"),
        ("https://dzen.ru/", "dzen", "social"),
        ("https://alice.yandex.ru/", "alice", "referral"),
        ("https://disk.yandex.ru/", "yandex.ru", "referral"),
        ("https://www1.baidu.com/", "baidu", "organic"),
        ("https://tieba.baidu.com/", "tieba", "social"),
        ("https://pan.baidu.com/", "baidu.com", "referral"),
        ("https://www.bing.com/", "bing", "organic"),
        ("https://cn.bing.com/", "bing", "organic"),
        ("https://www.bing.com/chat?q=1", "copilot", "referral"),
        ("https://www.bing.com/chatter", "bing", "organic"),
        ("https://www.msn.com/", "msn.com", "referral"),
        ("https://html.duckduckgo.com/", "duckduckgo", "organic"),
        ("https://search.brave.com/", "brave", "organic"),
        ("https://brave.com/", "brave.com", "referral"),
        ("https://s7-us4.startpage.com/", "startpage", "organic"),
        ("https://search.seznam.cz/", "seznam", "organic"),
        ("https://email.seznam.cz/", "email", "email"),
        ("https://m.search.naver.com/", "naver", "organic"),
        ("https://mail.naver.com/", "email", "email"),
        ("https://search.daum.net/", "daum", "organic"),
        ("https://m.facebook.com/", "facebook", "social"),
        ("https://l.instagram.com/", "instagram", "social"),
        ("https://l.messenger.com/", "messenger", "social"),
        ("https://mobile.x.com/", "twitter", "social"),
        ("https://x.com/i/grok", "grok", "referral"),
        ("https://www.linkedin.com/", "linkedin", "social"),
        ("https://old.reddit.com/", "reddit", "social"),
        ("https://redd.it/x", "reddit", "social"),
        ("https://vm.tiktok.com/", "tiktok", "social"),
        ("https://youtu.be/x", "youtube", "social"),
        ("https://www.pinterest.co.uk/", "pinterest", "social"),
        ("https://pin.it/x", "pinterest", "social"),
        ("https://bsky.app/", "bluesky", "social"),
        ("https://mastodon.social/", "mastodon", "social"),
        ("https://fosstodon.org/", "mastodon", "social"),
        ("https://t.me/x", "telegram", "social"),
        ("https://news.ycombinator.com/", "hackernews", "social"),
        ("https://www.ycombinator.com/", "ycombinator.com", "referral"),
        ("https://deref-gmx.net/", "email", "email"),
        ("https://3c.web.de/", "email", "email"),
        ("https://e.mail.ru/", "email", "email"),
        ("https://go.mail.ru/", "mail-ru", "organic"),
        ("https://my.mail.ru/", "mymail", "social"),
        ("https://news.mail.ru/", "mail.ru", "referral"),
        ("https://mail.proton.me/", "email", "email"),
        ("https://app.fastmail.com/", "email", "email"),
        ("https://webmail.example.org/", "email", "email"),
        ("https://webmail.shop.example.org/", "example.org", "referral"),
        ("https://urldefense.com/v3/__x", "email", "email"),
        ("https://us01.z.antigena.com/l/x", "email", "email"),
        ("https://linklock.titanhq.com/analyse?url=x", "email", "email"),
        ("https://ddei5-0-ctp.trendmicro.com/wis/x", "email", "email"),
        ("https://url6.mailanyone.net/scanner?m=x", "email", "email"),
        ("https://www.mailcontrol.com/sr/x", "email", "email"),
        ("https://www.trendmicro.com/blog", "trendmicro.com", "referral"),
        ("https://urldefense.proofpoint.com/v2/url?u=x", "email", "email"),
        ("https://www.proofpoint.com/", "proofpoint.com", "referral"),
        ("https://protect-eu.mimecast.com/s/x", "email", "email"),
        ("https://url.us.m.mimecastprotect.com/s/x", "email", "email"),
        ("https://www.mimecast.com/", "mimecast.com", "referral"),
        ("https://linkprotect.cudasvc.com/url?a=x", "email", "email"),
        ("https://secure-web.cisco.com/x", "email", "email"),
        ("https://www.cisco.com/", "cisco.com", "referral"),
        ("https://nam02.safelinks.protection.outlook.com/?url=x", "email", "email"),
        ("https://googleads.g.doubleclick.net/pagead/x", "doubleclick", "paid"),
        ("https://www.googleadservices.com/pagead/aclk", "googleadservices", "paid"),
        ("https://trc.taboola.com/", "taboola", "paid"),
        ("https://paid.outbrain.com/", "outbrain", "paid"),
        ("https://yabs.yandex.ru/", "yandex", "paid"),
        ("https://ads.google.com/", "google.com", "referral"),
        ("https://claude.ai/", "claude", "referral"),
        ("https://github.com/", "github.com", "referral"),
        ("https://bit.ly/x", "bit.ly", "referral"),
        ("android-app://com.linkedin.android/", "linkedin", "social"),
        ("android-app://com.android.chrome/", "com.android.chrome", "referral"),
    ],
)
def test_the_most_specific_entry_decides(referrer, source, medium):
    assert answer(referrer) == (source, medium)
