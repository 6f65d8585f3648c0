"""What is made of a User-Agent and of an address."""

import hashlib
import hmac
import json
import sys
import tomllib
from datetime import date
from importlib import resources
from pathlib import Path

import pytest
from crawleruseragents import CRAWLER_USER_AGENTS_DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from millimetric_mcp.api.ingest.enrich import (
    MAX_USER_AGENT_LENGTH,
    VisitorDevice,
    country_of,
    hash_ip,
    load_country_lookup,
    parse_user_agent,
)

DATA = Path(__file__).parent / "data"
LABELLED = [
    json.loads(line) for line in (DATA / "user_agents.jsonl").read_text("utf-8").splitlines()
]
MORE = [
    line.split("|", 4)
    for line in (DATA / "more_user_agents.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
]
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36"
)
DAY = date(2026, 5, 16)
SALT = b"s" * 32


@pytest.mark.parametrize("row", LABELLED, ids=lambda row: row["ua"][:120])
def test_a_labelled_user_agent_has_its_expected_device(row):
    found = parse_user_agent(row["ua"])._asdict()
    labels = {name: value for name, value in row.items() if name in found and value is not None}
    assert {name: found[name] for name in labels} == labels


@pytest.mark.parametrize(
    ("device_type", "browser", "os", "bot", "user_agent"), MORE, ids=[row[4][:120] for row in MORE]
)
def test_further_user_agents_have_their_expected_device(device_type, browser, os, bot, user_agent):
    assert parse_user_agent(user_agent) == VisitorDevice(
        device_type, browser, os, is_bot=bot == "bot"
    )


KEPT = [
    (kept["pattern"], instance, "http-library" in kept["tags"])
    for kept in CRAWLER_USER_AGENTS_DATA
    for instance in kept["instances"]
]


def test_nearly_every_bot_of_the_kept_list_is_a_bot_without_a_device_type():
    found = [parse_user_agent(instance) for _, instance, is_library in KEPT if not is_library]
    assert len(found) > 1500
    assert sum(device.is_bot for device in found) / len(found) > 0.99
    assert not any(device.device_type for device in found if device.is_bot)


def test_http_libraries_of_the_kept_list_have_no_device_type():
    assert {parse_user_agent(agent).device_type for _, agent, library in KEPT if library} == {""}


def test_patterns_that_are_left_out_are_in_the_kept_list():
    file = resources.files("millimetric_mcp.api") / "data" / "user_agents.toml"
    left_out = tomllib.loads(file.read_text("utf-8"))["left_out"]
    assert set(left_out) <= {pattern for pattern, _, _ in KEPT}


@pytest.mark.parametrize("nothing", [None, "", " ", "\x00", "\ud800", "?" * 100_000])
def test_the_device_is_unknown_without_a_user_agent(nothing):
    assert parse_user_agent(nothing) == VisitorDevice("", "", "")


def test_a_user_agent_is_cut_before_it_is_parsed():
    assert parse_user_agent(CHROME.ljust(MAX_USER_AGENT_LENGTH) + " Edg/140.0").browser == "chrome"
    assert parse_user_agent(f"{CHROME} Edg/140.0").browser == "edge"


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=600))
def test_any_user_agent_gives_words_of_the_contract(text):
    for user_agent in (text, f"Mozilla/5.0 ({text}) Chrome/1"):
        found = parse_user_agent(user_agent)
        assert found.device_type in {"mobile", "tablet", "desktop", ""}
        assert found.browser in {"chrome", "firefox", "safari", "edge", "opera", ""}
        assert found.os in {"windows", "macos", "android", "ios", "linux", ""}


def test_a_public_address_has_the_country_that_the_look_up_returns():
    asked = []

    def lookup(ip):
        asked.append(ip)
        return "NL"

    assert country_of("193.0.6.139", lookup=lookup) == "NL"
    assert country_of("::ffff:193.0.6.139", lookup=lookup) == "NL"
    assert country_of("2001:67C:2e8::1", lookup=lookup) == "NL"
    assert asked == ["193.0.6.139", "193.0.6.139", "2001:67c:2e8::1"]


@pytest.mark.parametrize(
    "ip",
    [
        *(None, "", "unknown", "1.2.3", "1.2.3.4.5", "1.2.3.4:80", "::g", "\x00", "\ud800"),
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "0.0.0.0"),
        *("169.254.1.1", "192.0.2.1", "224.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1%eth0", "fc00::1", "2001:db8::1", "::ffff:10.0.0.1"),
    ],
)
def test_an_address_that_is_not_public_is_not_looked_up(ip):
    assert country_of(ip, lookup=lambda ip: pytest.fail(f"looked up {ip}")) == ""


@pytest.mark.parametrize("answer", [None, "", "EU", "AP", "ZZ", "nl", "NLD", "N1"])
def test_a_code_that_is_not_a_countrys_is_left_out(answer):
    assert country_of("193.0.6.139", lookup=lambda _: answer) == ""


def test_the_offline_look_up_returns_countries_only():
    pytest.importorskip("iptocc")
    lookup = load_country_lookup()
    assert lookup("8.8.8.8") == "US"
    assert lookup("193.99.144.80") == "DE"
    assert lookup("2001:4860:4860::8888") == "US"
    assert lookup("192.168.1.1") == ""


def test_countries_are_unknown_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "iptocc", None)
    assert load_country_lookup()("8.8.8.8") == ""


def test_an_address_is_hashed_with_the_salt_and_the_utc_date():
    expected = hmac.digest(SALT + b"2026-05-16", b"193.0.6.139", hashlib.sha256)[:16]
    assert hash_ip("193.0.6.139", salt=SALT, date_utc=DAY) == expected


def test_the_hash_changes_with_the_day_the_salt_and_the_address():
    hashes = {
        hash_ip("193.0.6.139", salt=SALT, date_utc=DAY),
        hash_ip("193.0.6.139", salt=SALT, date_utc=date(2026, 5, 17)),
        hash_ip("193.0.6.139", salt=b"t" * 32, date_utc=DAY),
        hash_ip("193.0.6.140", salt=SALT, date_utc=DAY),
    }
    assert len(hashes) == 4
    assert {len(found) for found in hashes} == {16}


@pytest.mark.parametrize(
    ("one", "other"),
    [("193.0.6.139", "::ffff:193.0.6.139"), ("2001:67c:2e8::1", "2001:067C:02E8:0::0001")],
)
def test_all_forms_of_an_address_have_the_same_hash(one, other):
    first, second = (hash_ip(ip, salt=SALT, date_utc=DAY) for ip in (one, other))
    assert first == second


@pytest.mark.parametrize("ip", ["", "unknown", "\x00", "\ud800", "a" * 10_000])
def test_text_that_is_not_an_address_is_hashed_too(ip):
    assert len(hash_ip(ip, salt=SALT, date_utc=DAY)) == 16


def test_a_start_without_the_table_of_networks_says_how_to_install_it(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "iptocc", None)

    lookup = load_country_lookup()

    assert lookup("81.2.69.160") == ""
    assert "pip install 'millimetric-mcp[geo]'" in caplog.text
