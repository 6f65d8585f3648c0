"""Backups in a bucket of a server that speaks S3: scripts/test-s3 starts the tests."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import boto3
import pytest

SECRET = "planted-secret-of-a-bucket"
BUCKET = "backups"


@pytest.fixture(scope="module")
def aws():
    """The variables of a server with an empty bucket."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [os.environ["MILLIMETRIC_TEST_S3_SERVER"], "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server.terminate()
    server.wait()


@pytest.fixture
def bucket(aws):
    client = boto3.client(
        "s3",
        endpoint_url=aws["AWS_ENDPOINT_URL"],
        aws_access_key_id="test",
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET)
    yield client
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])
    client.delete_bucket(Bucket=BUCKET)


def list_sizes(client):
    found = client.list_objects_v2(Bucket=BUCKET).get("Contents", ())
    return {item["Key"]: item["Size"] for item in found}


@pytest.fixture
def run(aws):
    def run_command(*arguments, code=0, **variables):
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("MILLI", "AWS_"))}
        done = subprocess.run(
            [sys.executable, "-m", "millimetric_mcp", *map(str, arguments)],
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
            env=environ | aws | variables,
        )
        assert done.returncode == code, done.stderr
        assert SECRET not in done.stdout + done.stderr
        return done

    return run_command


def test_a_backup_in_a_bucket_is_restored_with_its_events_and_keys(start_api, bucket, run):
    api = start_api()
    api.post("/v1/batch", {"events": [{"event": "x", "event_id": "one"}]})
    first = json.loads(
        run("backup", f"s3://{BUCKET}/a/b", "--data-dir", api.data_dir, "--json").stdout
    )
    api.post("/v1/batch", {"events": [{"event": "x", "event_id": "two"}]})
    run("backup", f"s3://{BUCKET}/a/b/", "--data-dir", api.data_dir)
    keys = api.keys
    assert api.terminate() == 0
    assert not list(api.data_dir.glob("backup-*"))
    assert SECRET not in api.stderr()
    shutil.rmtree(api.data_dir)

    done = run("restore", f"s3://{BUCKET}/a/b", "--data-dir", api.data_dir)

    assert done.stdout.startswith(f"{api.data_dir}: 2 events of s3://{BUCKET}/a/b/20")
    again = start_api()
    again.keys = keys
    assert {row["event_id"] for row in again.rows("/v1/query")} == {"one", "two"}
    again.terminate()
    shutil.rmtree(api.data_dir)
    run("restore", first["backup"], "--data-dir", api.data_dir)
    once_more = start_api()
    once_more.keys = keys
    assert {row["event_id"] for row in once_more.rows("/v1/query")} == {"one"}


def test_a_file_that_a_backup_before_has_is_copied_by_the_service(start_api, bucket, run, aws):
    api = start_api()
    api.post("/v1/batch", {"events": [{"event": "x"}] * 100})
    run("backup", f"s3://{BUCKET}/a", "--data-dir", api.data_dir)
    before = list_sizes(bucket)
    run("backup", f"s3://{BUCKET}/a", "--data-dir", api.data_dir)

    added = list_sizes(bucket).keys() - before.keys()
    second = min(added).split("/")[1]
    assert {key.split("/", 2)[2] for key in added} == {key.split("/", 2)[2] for key in before}
    assert all(key.split("/")[1] == second for key in added)


def test_a_damaged_or_missing_file_is_named_and_nothing_changes(start_api, bucket, run, tmp_path):
    api = start_api()
    api.post("/v1/batch", {"events": [{"event": "x"}]})
    run("backup", f"s3://{BUCKET}", "--data-dir", api.data_dir)
    [pepper] = [key for key in list_sizes(bucket) if key.endswith("/pepper")]
    bucket.put_object(Bucket=BUCKET, Key=pepper, Body=b"other")
    [control] = [key for key in list_sizes(bucket) if key.endswith("/control.sqlite3")]
    bucket.delete_object(Bucket=BUCKET, Key=control)
    target = tmp_path / "restored"

    refused = run("restore", f"s3://{BUCKET}", "--data-dir", target, code=1)

    missing, damaged = refused.stderr.split("\nDamaged, 1 of its ")
    assert missing.endswith(" files:\n  control.sqlite3")
    assert " files:\n  pepper\n" in damaged
    assert not target.exists()


@pytest.mark.parametrize(
    ("place", "variables", "said"),
    [
        ("s3://none/x", {}, "NoSuchBucket"),
        ("s3://backups", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "EndpointConnectionError"),
    ],
)
def test_what_is_wrong_with_a_bucket_is_said_and_nothing_is_left(
    start_api, run, place, variables, said
):
    api = start_api()
    refused = run("backup", place, "--data-dir", api.data_dir, code=1, **variables)
    assert said in refused.stderr
    assert not list(api.data_dir.glob("backup-*"))


def test_credentials_in_the_place_are_refused_without_repeating_them(start_api, run):
    refused = run("restore", f"s3://key:{SECRET}@backups/x", "--data-dir", "x", code=2)
    assert "AWS_ACCESS_KEY_ID" in refused.stderr
