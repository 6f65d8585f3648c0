"""What the API says at its start of data that other users of the machine can reach."""

import shutil

import pytest

pytestmark = pytest.mark.slow


def test_a_data_directory_that_everybody_can_write_is_named(start_api, tmp_path):
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    data_dir.chmod(0o777)

    api = start_api()

    assert f"chmod o-w {data_dir}" in api.stderr()


@pytest.mark.parametrize(
    ("options", "is_said"),
    [
        (["--host", "0.0.0.0"], True),
        (["--host", "0.0.0.0", "--trusted-proxy", "10.0.0.1"], False),
        (["--host", "::1"], False),
    ],
)
def test_keys_of_other_machines_without_https_are_named(start_api, options, is_said):
    api = start_api(*options, wait=False)
    api.wait_until(lambda: "millimetric-mcp api: http://" in api.stderr())

    assert ("their keys are not encrypted" in api.stderr()) == is_said


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://user:planted-secret@127.0.0.1:1/x",
        "postgresql://user@127.0.0.1:1/x?password=planted-secret",
    ],
)
def test_a_password_on_the_command_line_is_named_and_not_shown(start_api, dsn):
    api = start_api("--control", dsn, wait=False)
    api.process.wait(60)

    assert "Set MILLIMETRIC_CONTROL instead" in api.stderr()
    assert "planted-secret" not in api.stderr()


@pytest.mark.parametrize("dsn", ["postgresql://user@127.0.0.1:1/x", "file:/nothing/at@all"])
def test_no_password_is_named_where_none_is_given(start_api, dsn):
    api = start_api("--control", dsn, wait=False)
    api.process.wait(60)

    assert "password" not in api.stderr()


def test_a_store_that_was_copied_without_links_is_named(start_api):
    api = start_api()
    api.terminate()
    metadata = api.data_dir / "store/metadata/millimetric"
    target = metadata.resolve()
    metadata.unlink()
    shutil.copytree(target, metadata)

    again = start_api(wait=False)

    assert again.process.wait(60) == 1
    assert "copied without its symbolic links" in again.stderr()
