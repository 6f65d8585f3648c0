"""The table of settings: read in order, documented, and complete."""

import re
from pathlib import Path

import pytest

from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import (
    ApiSettings,
    ControlSettings,
    RateLimits,
    ServeSettings,
    StoreSettings,
    list_settings,
    read_settings,
)

MODELS = (ServeSettings, ApiSettings, StoreSettings, ControlSettings)
DOCUMENT = Path(__file__).parent.parent / "docs" / "settings.md"
SECRETS = {"write_key", "read_key", "token", "pepper", "ip_salt"}


def test_every_field_is_a_setting_with_a_meaning():
    for model in MODELS:
        fields = list_settings(model)
        assert {field.name for field in fields} == set(model.model_fields)
        assert all(field.help for field in fields)


def test_every_setting_stands_in_the_documentation():
    text = DOCUMENT.read_text()
    for model in MODELS:
        for field in list_settings(model):
            assert f"| `{field.setting.variable}` |" in text


def test_variables_and_options_are_unique_within_a_command():
    for model in MODELS:
        fields = list_settings(model)
        options = [field.setting.option for field in fields if field.setting.option]
        assert len({field.setting.variable for field in fields}) == len(fields)
        assert len(set(options)) == len(options)


def test_secrets_have_no_option_that_others_could_read():
    for model in MODELS:
        for field in list_settings(model):
            assert (field.setting.option is None) or field.name not in SECRETS


def test_an_option_wins_over_its_variable_and_that_over_the_default():
    environ = {"MILLIMETRIC_TIMEZONE": "Europe/Berlin"}

    assert read_settings(ServeSettings, environ={}, options={}).timezone == "UTC"
    assert read_settings(ServeSettings, environ=environ, options={}).timezone == "Europe/Berlin"
    option = {"timezone": "Asia/Tokyo"}
    assert read_settings(ServeSettings, environ=environ, options=option).timezone == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on", RateLimits()),
        ("off", None),
        ("track=10:20", RateLimits(track_per_s=10, track_burst=20)),
        (
            "batch=0.5:1, track=1:2",
            RateLimits(track_per_s=1, track_burst=2, batch_per_s=0.5, batch_burst=1),
        ),
    ],
)
def test_rate_limits_are_read(text, expected):
    options = {"rate_limits": text}
    assert read_settings(ApiSettings, environ={}, options=options).rate_limits == expected


@pytest.mark.parametrize("text", ["yes", "track=nan:1", "track=0:1", "track=1", "login=1:1"])
def test_wrong_rate_limits_are_refused_with_the_form_they_take(text):
    with pytest.raises(SettingsError, match="track=PER_SECOND:BURST"):
        read_settings(ApiSettings, environ={"MILLIMETRIC_RATE_LIMITS": text}, options={})


@pytest.mark.parametrize("zone", ["Mars/Olympus", "localtime", "right/UTC"])
def test_what_is_no_iana_time_zone_is_refused(zone):
    with pytest.raises(SettingsError, match="must be an IANA time zone"):
        read_settings(ServeSettings, environ={"MILLIMETRIC_TIMEZONE": zone}, options={})


@pytest.mark.parametrize("days", [0, 36_501, 1_000_000])
def test_days_of_retention_beyond_the_calendar_are_refused(days):
    with pytest.raises(SettingsError, match="--retention-days / MILLIMETRIC_RETENTION_DAYS"):
        read_settings(ApiSettings, environ={}, options={"retention_days": days})


def test_a_repeated_option_is_a_list():
    options = {"trusted_proxies": ["10.0.0.0/8", "::1/128"]}
    proxies = read_settings(ApiSettings, environ={}, options=options).trusted_proxies
    assert [str(proxy) for proxy in proxies] == ["10.0.0.0/8", "::1/128"]


def test_settings_never_show_their_secrets():
    secret = "sk_live_abcdefgh_" + "planted" * 6
    settings = read_settings(ServeSettings, environ={"MILLIMETRIC_KEY": secret}, options={})
    assert not re.search("planted", repr(settings) + str(settings) + settings.model_dump_json())
