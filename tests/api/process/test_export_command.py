"""``millimetric-mcp export``: every event of a window, in each format, and back again."""

import csv
import json

import pytest

pytestmark = pytest.mark.slow

COUNT = 2600
WINDOW = ("--from", "2026-05-01", "--to", "2026-06-01")


def make_event(number):
    day, hour, second = number % 28 + 1, number % 24, number % 60
    return {
        "event": "signup" if number % 10 == 0 else "$pageview",
        "event_id": f"e{number}",
        "anonymous_id": f"v{number % 50}",
        "timestamp": f"2026-05-{day:02}T{hour:02}:00:{second:02}.{number % 7}Z",
        "properties": {"n": number, "text": 'a "quoted", é\n line', "big": 12345678901234567890},
    }


@pytest.fixture(scope="module")
def filled_api(shared_api):
    """An API with events of May 2026, and others before and after."""
    events = [make_event(number) for number in range(COUNT)]
    outside = [
        {"event": "outside", "timestamp": "2026-04-30T23:59:59.999Z"},
        {"event": "outside", "timestamp": "2026-06-01T00:00:00Z"},
    ]
    for first in range(0, COUNT, 1000):
        body = {"events": events[first : first + 1000]}
        assert shared_api.post("/v1/batch", body).status_code == 202
    assert shared_api.post("/v1/batch", {"events": outside}).status_code == 202
    return shared_api


def check(rows):
    assert sorted(row["event_id"] for row in rows) == sorted(f"e{n}" for n in range(COUNT))
    times = [row["timestamp"] for row in rows]
    assert times == sorted(times)


def test_every_event_of_the_window_is_written_once_and_oldest_first(filled_api, run_command):
    stdout, stderr = run_command(filled_api, "export", *WINDOW)

    rows = [json.loads(line) for line in stdout.splitlines()]
    check(rows)
    assert stderr == f"{COUNT} events\n"
    [row] = [row for row in rows if row["event_id"] == "e17"]
    assert row["properties"] == make_event(17)["properties"]


def test_a_csv_file_holds_the_same(filled_api, run_command, tmp_path):
    run_command(filled_api, "export", *WINDOW, "--output", "may.csv")

    with (tmp_path / "may.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    check(rows)
    assert json.loads(rows[0]["properties"])["big"] == 12345678901234567890


def test_the_ending_of_the_file_chooses_its_format_and_a_link_stays_one(
    filled_api, run_command, tmp_path
):
    (tmp_path / "may.csv").symlink_to("other.CSV")
    (tmp_path / "MAY.CSV").symlink_to("may.csv")
    run_command(filled_api, "export", "--filter", "event=outside", "--output", "MAY.CSV")

    assert (tmp_path / "other.CSV").read_text().startswith("timestamp,event_name,")
    assert (tmp_path / "may.csv").is_symlink()


def test_a_parquet_file_holds_the_same(filled_api, run_command, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")

    run_command(filled_api, "export", *WINDOW, "--output", "may.parquet")

    check(parquet.read_table(tmp_path / "may.parquet").to_pylist())


def test_a_filter_leaves_the_others_out(filled_api, run_command):
    stdout, _ = run_command(filled_api, "export", *WINDOW, "--filter", "event=signup")

    rows = [json.loads(line) for line in stdout.splitlines()]
    assert len(rows) == COUNT // 10
    assert {row["event_name"] for row in rows} == {"signup"}


def test_what_was_exported_in_any_format_can_be_imported(filled_api, start_api, run_command):
    pytest.importorskip("pyarrow")
    wanted = read_export(run_command, filled_api)
    other = start_api()

    for name in ("may.ndjson", "may.csv", "may.parquet"):
        run_command(filled_api, "export", *WINDOW, "--output", name)
        run_command(other, "import", name)
        assert read_export(run_command, other) == wanted, name
        listed, _ = run_command(other, "import", "--list")
        run_command(other, "import", "--undo", listed.split()[0])


def read_export(run_command, api):
    stdout, _ = run_command(api, "export", *WINDOW)
    return sorted(stdout.splitlines())


def test_an_export_that_fails_leaves_no_file(no_api, run_command, tmp_path):
    no_api.keys["MILLIMETRIC_RK"] = "rk_live_AAAAAAAA_" + "r" * 32

    _, stderr = run_command(no_api, "export", *WINDOW, "--output", "may.csv", code=1)

    assert "No connection to the API" in stderr
    assert not [path for path in tmp_path.iterdir() if "may.csv" in path.name]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--from", "May"], "--from: from must be an ISO 8601 time"),
        (["--from", "2026-06-01", "--to", "2026-05-01"], "--from: from must not be after to"),
        (["--output", "there/may.csv"], "there does not exist. Create it first."),
        (["--output", "."], "--output: . is a directory. Name a file in it."),
        (["--output", "/dev/null"], "--output: /dev/null is not a file."),
        (["--output", "may.xlsx"], "may.xlsx ends in no known format. Add --format."),
        (["--filter", "colour=red"], "--filter: Use NAME=VALUE, where NAME is one of event"),
        (["--format", "parquet"], "--format parquet needs a file"),
    ],
)
def test_a_wrong_option_is_named(no_api, run_command, arguments, sentence):
    _, stderr = run_command(no_api, "export", *arguments, code=2)

    assert sentence in stderr
