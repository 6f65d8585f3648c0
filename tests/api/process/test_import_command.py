"""``millimetric-mcp import`` against an API on a real socket: once, resumed, and taken back."""

import json
import signal

import pytest

pytestmark = pytest.mark.slow

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
TIMEOUT_S = 120


def line(number, *, agent=FIREFOX):
    second = f"{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}"
    return (
        f'203.0.113.{number % 250} - - [16/May/2026:{second} +0000] "GET /page/{number} HTTP/1.1" '
        f'200 512 "https://www.google.com/" "{agent}"\n'
    )


@pytest.fixture
def log(tmp_path):
    """An access log of 4100 page views, which is one part."""
    path = tmp_path / "access.log"
    path.write_text("".join(map(line, range(4100))))
    return path


def count(api):
    [row] = api.rows("/v1/stats")
    return row["value"]


def test_a_second_run_adds_nothing_and_an_undo_takes_all_back(start_api, run_command, log):
    api = start_api()
    site = ("--site", "https://shop.example")

    first, _ = run_command(api, "import", log, *site)
    second, _ = run_command(api, "import", log, *site)

    assert "access.log (combined): 4100 events imported" in first
    assert "4100 events were there from an earlier run" in second
    assert count(api) == 4100
    [[source, medium, events]] = [
        (row["source"], row["medium"], row["events"]) for row in api.rows("/v1/sources")
    ]
    assert (source, medium, events) == ("google", "organic", 4100)

    listed, _ = run_command(api, "import", "--list")
    import_id = listed.split()[0]
    assert f"import --undo {import_id}" in first
    undone, _ = run_command(api, "import", "--undo", import_id)
    assert undone == "4100 events were deleted\n"
    assert api.rows("/v1/query") == []
    assert not api.find_files(b"/page/4099")
    assert run_command(api, "import", "--list")[0] == "no imports\n"
    run_command(api, "import", log, *site)
    assert count(api) == 4100


def test_scripts_get_the_result_of_each_step_as_json(start_api, run_command, tmp_path):
    api = start_api()
    log = tmp_path / "small.log"
    log.write_text("".join([*map(line, range(3)), line(3, agent=BOT), "nonsense\n"]))

    def run(*arguments, code=0):
        return json.loads(run_command(api, *arguments, "--json", code=code)[0])

    site = ("--site", "https://shop.example")
    [tried] = run("import", log, *site, "--dry-run")["files"]
    [done] = run("import", log, *site, code=3)["files"]
    [listed] = run("import", "--list")["imports"]
    exported = run("export", "--output", "all.csv")
    undone = run("import", "--undo", done["import_id"])

    assert (tried["events"], tried["stored"], len(tried["sample"])) == (3, 0, 3)
    assert (done["file"], done["format"], done["stored"]) == ("small.log", "combined", 3)
    assert (done["rejected"], done["left_out"]) == (1, {"bots": 1})
    assert (listed["import_id"], listed["events"]) == (done["import_id"], 3)
    assert exported == {"events": 3, "output": "all.csv"}
    assert undone == {"deleted": 3}
    assert run("import", "--list") == {"imports": []}


def test_an_import_goes_on_where_a_killed_one_and_a_killed_api_stopped(
    start_api, start_command, run_command, tmp_path
):
    api = start_api()
    log = tmp_path / "long.log"
    log.write_text("".join(map(line, range(60_000))))
    site = ("--site", "https://shop.example")

    importer = start_command(api, "import", log, *site)
    api.wait_until(lambda: api.stderr().count('"path":"/v1/import"') > 2)
    importer.kill()
    importer.communicate()
    second = start_command(api, "import", log, *site)
    api.wait_until(lambda: api.stderr().count('"path":"/v1/import"') > 4)
    api.kill()
    _, stderr = second.communicate(timeout=TIMEOUT_S)
    assert "Traceback" not in stderr
    api = start_api()
    run_command(api, "import", log, *site)

    assert count(api) == 60_000
    paths = api.rows("/v1/stats", group_by="path", limit=1000)
    assert {row["value"] for row in paths} == {1}


def test_ctrl_c_ends_an_import_with_a_sentence(start_api, start_command, tmp_path):
    api = start_api()
    log = tmp_path / "long.log"
    log.write_text("".join(map(line, range(60_000))))

    importer = start_command(api, "import", log, "--site", "https://shop.example")
    api.wait_until(lambda: '"path":"/v1/import"' in api.stderr())
    importer.send_signal(signal.SIGINT)
    _, stderr = importer.communicate(timeout=TIMEOUT_S)

    assert importer.returncode == 130
    assert stderr == "Stopped. The same command goes on from here.\n"


def test_a_log_that_has_grown_is_refused_with_what_to_do(start_api, run_command, log):
    api = start_api()
    run_command(api, "import", log, "--site", "https://shop.example")
    log.write_text(log.read_text() + line(5000))

    _, stderr = run_command(api, "import", log, "--site", "https://shop.example", code=1)

    assert "A file that begins like access.log was imported" in stderr
    assert "import --undo" in stderr
    assert count(api) == 4100


def test_rejected_records_are_in_a_private_file_with_their_reasons(
    start_api, run_command, tmp_path
):
    api = start_api()
    log = tmp_path / "access.log"
    log.write_text(line(1) + "broken\n" + line(2) + line(3).replace("/page/3", "/" + "x" * 2100))

    stdout, _ = run_command(api, "import", log, "--site", "https://shop.example", code=3)

    rejects = tmp_path / "access.log.rejects.ndjson"
    entries = [json.loads(entry) for entry in rejects.read_text().splitlines()]
    assert [(entry["place"], entry["reason"].split(":")[0]) for entry in entries] == [
        (2, "is not a line of a combined or common log"),
        (4, "url"),
    ]
    assert entries[0]["record"] == "broken"
    assert rejects.stat().st_mode & 0o077 == 0
    assert "rejected: 2 records" in stdout
    assert count(api) == 2


def test_rejected_records_of_several_files_are_in_the_one_that_is_named(
    start_api, run_command, tmp_path
):
    api = start_api()
    files = [tmp_path / name for name in ("a.ndjson", "b.ndjson", "good.ndjson")]
    for file in files[:2]:
        file.write_text('{"event":"signup","timestamp":"yesterday"}\n')
    files[2].write_text('{"event":"signup","timestamp":"2026-05-16T19:00:00Z"}\n')
    rejects = tmp_path / "all.ndjson"
    rejects.write_text("of an earlier run\n")

    run_command(api, "import", *files, "--rejects", rejects, code=3)

    entries = [json.loads(entry) for entry in rejects.read_text().splitlines()]
    assert [(entry["file"], entry["place"]) for entry in entries] == [
        ("a.ndjson", 1),
        ("b.ndjson", 1),
    ]


def test_a_second_run_counts_only_what_the_api_took_of_a_part(start_api, run_command, tmp_path):
    api = start_api()
    events = [
        {"event": "signup", "timestamp": f"2026-05-16T19:00:0{number}Z"} for number in range(4)
    ]
    events[1]["timestamp"] = "yesterday"
    events[2]["properties"] = ["no object"]
    file = tmp_path / "events.ndjson"
    file.write_text("".join(json.dumps(event) + "\n" for event in events))

    for stored, repeated in ((2, 0), (0, 2)):
        stdout, _ = run_command(api, "import", file, "--json", code=3)

        [done] = json.loads(stdout)["files"]
        found = (done["events"], done["stored"], done["repeated"], done["rejected"])
        assert found == (2, stored, repeated, 2)
        assert (done["first"], done["last"]) == ("2026-05-16T19:00:00Z", "2026-05-16T19:00:03Z")
    assert count(api) == 2


def test_a_part_without_a_valid_event_is_not_sent(start_api, run_command, tmp_path):
    api = start_api()
    file = tmp_path / "events.ndjson"
    file.write_text('{"event":"signup","timestamp":"yesterday"}\n')

    stdout, _ = run_command(api, "import", file, code=3)

    assert "events.ndjson (events): 0 events imported" in stdout
    assert "rejected: 1 records" in stdout
    assert run_command(api, "import", "--list")[0] == "no imports\n"


def test_a_dry_run_sends_nothing_and_shows_what_would_be_stored(run_command, no_api, tmp_path):
    log = tmp_path / "access.log"
    log.write_text(line(1) + line(2, agent=BOT) + line(3).replace("/page/3", "/a.css") + "broken\n")

    stdout, _ = run_command(no_api, "import", log, "--site", "https://shop.example", "--dry-run")

    assert stdout.splitlines() == [
        "access.log (combined): 1 events, nothing was sent",
        "  from 2026-05-16 00:00 to 2026-05-16 00:00 UTC",
        "  left out: 1 assets",
        "  left out: 1 bots",
        "  rejected: 1 records",
        "    1 × is not a line of a combined or common log",
        (
            "  2026-05-16T00:00:01+00:00 $pageview google/organic (ref_search) desktop firefox "
            "https://shop.example/page/1"
        ),
    ]
    assert not list(tmp_path.glob("*.rejects.ndjson"))


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["missing.log"], 1, "missing.log does not exist. Name a file."),
        (["."], 1, ". is a directory. Name a file."),
        ([], 2, "import: name a file: millimetric-mcp import access.log"),
        (["x", "--undo", "id"], 2, "--undo and --list take no files. Remove them."),
        (["x", "--map", "colour=c"], 2, "--map: 'colour' is not a field."),
        (["x", "--map", "event"], 2, "--map: Use FIELD=COLUMN"),
        (["x", "--timezone", "Mars/One"], 2, "--timezone: Use an IANA name"),
        (["x", "--site", "shop.example"], 2, "--site: Use a URL"),
    ],
)
def test_a_wrong_option_is_named(run_command, no_api, arguments, code, sentence):
    _, stderr = run_command(no_api, "import", *arguments, code=code)

    assert sentence in stderr


def test_a_closed_pipe_ends_an_import_without_a_traceback(start_command, no_api, log):
    with start_command(
        no_api, "import", log, "--site", "https://shop.example", "--dry-run"
    ) as process:
        process.stdout.close()
        stderr = process.stderr.read()

    assert process.returncode == 141
    assert "Traceback" not in stderr


def test_events_that_are_larger_than_a_request_are_sent_in_several(
    start_api, run_command, tmp_path
):
    api = start_api()
    text = "x" * 7000
    events = tmp_path / "large.ndjson"
    events.write_text(
        "".join(
            f'{{"event":"e","timestamp":"2026-05-16T19:00:00Z","properties":{{"t":"{text}"}}}}\n'
            for _ in range(3000)
        )
    )

    run_command(api, "import", events)
    again, _ = run_command(api, "import", events)

    assert count(api) == 3000
    assert "3000 events were there from an earlier run" in again
