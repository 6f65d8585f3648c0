import stat
from pathlib import Path

import pytest

from millimetric_mcp.api.control import datadir, open_control
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import ApiSettings, ControlSettings, read_settings


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def settings_of(data_dir: Path, **environ) -> ApiSettings:
    return read_settings(ApiSettings, environ=environ, options={"data_dir": data_dir})


def test_the_data_directory_is_created_for_its_owner_only(tmp_path):
    path = datadir.prepare_data_dir(settings_of(tmp_path / "new"))
    assert path == tmp_path / "new"
    assert mode_of(path) == 0o700


def test_an_existing_data_directory_keeps_its_permissions(tmp_path):
    (tmp_path / "old").mkdir(mode=0o755)
    assert mode_of(datadir.prepare_data_dir(settings_of(tmp_path / "old"))) == 0o755


def test_the_default_is_the_platforms_user_data_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path = datadir.prepare_data_dir(ControlSettings())
    assert path.name == "millimetric"
    assert path.is_dir()


def test_the_error_names_the_setting_when_the_data_directory_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"MILLIMETRIC_DATA_DIR: .*file is a file. Choose a"):
        datadir.prepare_data_dir(settings_of(tmp_path / "file"))


@pytest.mark.parametrize(
    ("set_values", "missing"),
    [
        ({}, "control.sqlite3 and pepper missing"),
        ({"MILLIMETRIC_PEPPER": "p" * 16}, "control.sqlite3 missing"),
        ({"MILLIMETRIC_CONTROL": "postgresql://db.example/x"}, "pepper missing"),
    ],
)
def test_a_look_at_a_missing_data_directory_names_the_missing_files(tmp_path, set_values, missing):
    with pytest.raises(SettingsError, match=missing):
        datadir.find_data_dir(settings_of(tmp_path / "typo", **set_values))
    assert list(tmp_path.iterdir()) == []


def test_a_lost_pepper_is_not_replaced_by_a_new_one(tmp_path):
    settings = ControlSettings(data_dir=tmp_path)
    datadir.resolve_secrets(settings, tmp_path)
    (tmp_path / "control.sqlite3").touch()
    (tmp_path / "pepper").unlink()

    with pytest.raises(SettingsError, match=r"pepper is missing, and no API key of .* works"):
        datadir.resolve_secrets(settings, tmp_path)

    assert not (tmp_path / "pepper").exists()


def test_a_look_needs_no_file_when_the_dsn_and_the_pepper_are_set(tmp_path):
    set_values = {"MILLIMETRIC_PEPPER": "p" * 16, "MILLIMETRIC_CONTROL": "postgresql://h/db"}
    path = datadir.find_data_dir(settings_of(tmp_path / "none", **set_values))
    assert path == tmp_path / "none"


def test_a_secret_is_created_once_for_its_owner_only(tmp_path):
    secret = datadir.read_or_make_secret(tmp_path / "pepper")
    assert datadir.read_or_make_secret(tmp_path / "pepper") == secret
    assert len(secret) >= 32
    assert mode_of(tmp_path / "pepper") == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["pepper"]


def test_processes_get_the_same_secret_when_they_create_it_together(race, tmp_path):
    outputs = race("make_secret", str(tmp_path / "pepper"))
    assert len(set(outputs)) == 1
    assert outputs[0].strip() == (tmp_path / "pepper").read_text().strip()
    assert [path.name for path in tmp_path.iterdir()] == ["pepper"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_secret_that_other_users_can_read_is_refused(tmp_path, mode):
    path = tmp_path / "pepper"
    secret = datadir.read_or_make_secret(path)
    path.chmod(mode)
    with pytest.raises(SettingsError, match=f"Run: chmod 600 {path}") as refused:
        datadir.read_or_make_secret(path)
    assert secret.decode() not in str(refused.value)


def test_a_file_without_a_secret_is_refused(tmp_path):
    datadir.write_private_file(tmp_path / "pepper", "short\n")
    with pytest.raises(SettingsError, match=r"holds no secret\. Restore it"):
        datadir.read_or_make_secret(tmp_path / "pepper")


def test_a_secret_that_can_t_be_created_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"can't read or create .*: No such file"):
        datadir.read_or_make_secret(tmp_path / "missing" / "pepper")


def test_secrets_that_are_set_create_no_file(tmp_path):
    settings = settings_of(tmp_path, MILLIMETRIC_PEPPER="p" * 16, MILLIMETRIC_IP_SALT="s" * 16)
    secrets = datadir.resolve_secrets(settings, tmp_path)
    assert (secrets.pepper, secrets.ip_salt) == (b"p" * 16, b"s" * 16)
    assert list(tmp_path.iterdir()) == []
    assert "pppp" not in repr(secrets)


def test_secrets_that_are_not_set_are_created_in_two_files(tmp_path):
    secrets = datadir.resolve_secrets(settings_of(tmp_path), tmp_path)
    assert secrets.pepper != secrets.ip_salt
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ip-salt", "pepper"]


def test_no_ip_salt_is_created_for_a_command_that_needs_none(tmp_path):
    settings = read_settings(ControlSettings, environ={}, options={"data_dir": tmp_path})
    assert datadir.resolve_secrets(settings, tmp_path).ip_salt is None
    assert [path.name for path in tmp_path.iterdir()] == ["pepper"]


def test_the_text_of_a_secret_file_can_be_set_as_the_variable(tmp_path):
    made = datadir.resolve_secrets(settings_of(tmp_path), tmp_path)
    text = (tmp_path / "pepper").read_text().strip()
    elsewhere = settings_of(tmp_path / "other", MILLIMETRIC_PEPPER=text)
    found = datadir.resolve_secrets(elsewhere, datadir.prepare_data_dir(elsewhere))
    assert found.pepper == made.pepper


@pytest.mark.parametrize("name", ["plain", "with space", "question?", "per%20cent", "hash#@:"])
def test_the_default_database_is_in_a_data_directory_of_any_name(tmp_path, name):
    settings = settings_of(tmp_path / name)
    data_dir = datadir.prepare_data_dir(settings)
    open_control(datadir.control_dsn(settings, data_dir), pepper=b"x" * 16).close()
    assert (tmp_path / name / "control.sqlite3").exists()


def test_a_dsn_that_is_set_hides_its_password(tmp_path):
    settings = settings_of(tmp_path, MILLIMETRIC_CONTROL="postgres://u:planted-secret@h/db")
    dsn = datadir.control_dsn(settings, tmp_path)
    assert (dsn.host, dsn.database, dsn.password) == ("h", "db", "planted-secret")
    assert "planted-secret" not in str(dsn)
