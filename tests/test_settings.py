"""The table of settings: read in order, documented, and complete."""

import re
from pathlib import Path

import pytest

from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import (
    ApiSettings,
    NewKeySettings,
    RateLimits,
    ServeSettings,
    StoreSettings,
    list_settings,
    read_settings,
)

MODELS = (ServeSettings, ApiSettings, StoreSettings, NewKeySettings)
DOCUMENT = Path(__file__).parent.parent / "docs" / "settings.md"
SECRETS = {"write_key", "read_key", "token", "pepper", "ip_salt"}


def test_every_field_is_a_setting_with_a_help_text():
    for model in MODELS:
        fields = list_settings(model)
        assert {field.name for field in fields} == set(model.model_fields)
        assert all(field.help for field in fields)


def test_every_setting_is_in_the_documentation():
    text = DOCUMENT.read_text()
    for model in MODELS:
        for field in list_settings(model):
            assert f"| `{field.variable}` |" in text


def test_variables_and_options_are_unique_within_a_command():
    for model in MODELS:
        fields = list_settings(model)
        options = [field.option for field in fields if field.option]
        assert len({field.variable for field in fields}) == len(fields)
        assert len(set(options)) == len(options)


def test_secrets_have_no_option():
    for model in MODELS:
        for field in list_settings(model):
            assert (field.option is None) or field.name not in SECRETS


def test_an_option_overrides_its_variable_which_overrides_the_default():
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
def test_rate_limits_are_parsed(text, expected):
    options = {"rate_limits": text}
    assert read_settings(ApiSettings, environ={}, options=options).rate_limits == expected


@pytest.mark.parametrize("text", ["yes", "track=nan:1", "track=0:1", "track=1", "login=1:1"])
def test_invalid_rate_limits_are_refused_with_the_allowed_form(text):
    with pytest.raises(SettingsError, match="track=PER_SECOND:BURST"):
        read_settings(ApiSettings, environ={"MILLIMETRIC_RATE_LIMITS": text}, options={})


@pytest.mark.parametrize("zone", ["Mars/Olympus", "localtime", "right/UTC"])
def test_a_time_zone_is_refused_when_it_is_not_an_iana_name(zone):
    with pytest.raises(
        SettingsError, match=f"'{zone}' is invalid. Use an IANA name such as Europe/Berlin"
    ):
        read_settings(ServeSettings, environ={"MILLIMETRIC_TIMEZONE": zone}, options={})


@pytest.mark.parametrize("days", [0, 36_501, 1_000_000])
def test_retention_days_outside_their_range_are_refused(days):
    with pytest.raises(SettingsError, match="--retention-days / MILLIMETRIC_RETENTION_DAYS"):
        read_settings(ApiSettings, environ={}, options={"retention_days": days})


def test_a_repeated_option_is_a_list():
    options = {"trusted_proxies": ["10.0.0.0/8", "::1/128"]}
    proxies = read_settings(ApiSettings, environ={}, options=options).trusted_proxies
    assert [str(proxy) for proxy in proxies] == ["10.0.0.0/8", "::1/128"]


def test_the_text_of_settings_hides_secrets():
    secret = "sk_live_abcdefgh_" + "planted" * 6
    settings = read_settings(ServeSettings, environ={"MILLIMETRIC_KEY": secret}, options={})
    assert not re.search("planted", repr(settings) + str(settings) + settings.model_dump_json())


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("port", "abc", "--port / MILLIMETRIC_API_PORT: 'abc' is invalid. Use 0 to 65535 "),
        ("fsync", "maybe", "--fsync / MILLIMETRIC_FSYNC: 'maybe' is invalid. Use on or off."),
        ("read_only", "?", "--read-only / MILLIMETRIC_READ_ONLY: '?' is invalid. Use on or off."),
        ("workers", "0", "--workers / MILLIMETRIC_WORKERS: '0' is invalid. Use 1 to 256 pro"),
        ("store_memory_mb", "1", "'1' is invalid. Use at least 256 MiB."),
        ("trusted_proxies", ["::/0", "nginx"], "'::/0,nginx' is invalid. Use IP ranges such as"),
        ("cluster", "a b", "'a b' is invalid. Use a name of letters, digits, dots, _ and -."),
    ],
)
def test_an_invalid_value_is_shown_with_the_allowed_values(name, value, sentence):
    with pytest.raises(SettingsError) as refused:
        read_settings(ApiSettings, environ={}, options={name: value})
    [error] = refused.value.errors
    assert sentence in error


def test_an_invalid_secret_is_not_shown():
    for model in MODELS:
        environ = {
            field.variable: "planted 1" for field in list_settings(model) if not field.option
        }
        with pytest.raises(SettingsError) as refused:
            read_settings(model, environ=environ, options={})
        assert "planted" not in str(refused.value)
        assert set(environ) == {error.partition(": ")[0] for error in refused.value.errors}


def test_a_dsn_is_read_from_the_file_that_is_named_in_its_place(tmp_path):
    file = tmp_path / "store.dsn"
    file.write_text("clickhouse://user:password@db.example:8123/events\n")

    settings = read_settings(ApiSettings, environ={}, options={"store": f"file:{file}"})

    assert settings.store.get_secret_value() == "clickhouse://user:password@db.example:8123/events"


def test_a_dsn_s_file_that_can_t_be_read_is_named():
    with pytest.raises(SettingsError) as refused:
        read_settings(ApiSettings, environ={"MILLIMETRIC_CONTROL": "file:/nowhere"}, options={})
    [error] = refused.value.errors
    assert error.startswith("--control / MILLIMETRIC_CONTROL: can't read /nowhere: No such file")
