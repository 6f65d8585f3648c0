"""Every recipe of the track skill, run as it stands, and what is stored then."""

import json
import os
import re
import signal
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

TRACK = "track/SKILL: Quick start: track one event"
IDENTIFY = "track/SKILL: Identify"
FORGET = "track/SKILL: Forget"
BATCH = "track/SKILL: Batch"
BULK = "track/bulk: The recipe"
WAIT = "track/errors: Wait out a 429"
RECIPES = [TRACK, IDENTIFY, FORGET, BATCH, BULK, WAIT]
HARD_TEXT = (
    "\"double\" 'single' back\\slash \\u0041\nnew line\ttab café 日本 🦊 $HOME `id` %s @file {}"
)
FORGET_TIMEOUT_S = 60
STORED = (202, {}, {"ok": True, "count": 1, "event_id": None})


@pytest.fixture
def scripted_api():
    """An API that gives one answer after the other, and the bodies it got.

    An answer that can be called is called instead, and none is given.
    """

    @contextmanager
    def serve(*answers):
        left, calls = list(answers), []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                calls.append(self.rfile.read(int(self.headers["Content-Length"])))
                answer = left.pop(0)
                if callable(answer):
                    answer()
                    return
                status, headers, body = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                """Nothing to say."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        key = "sk_live_abcdefgh_" + "s" * 32
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield {"MILLIMETRIC_HOST": url, "MILLIMETRIC_KEY": key}, calls
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    return serve


def write_events(path, count, *, trailing_newline=True):
    """An NDJSON file of events with every character that may go wrong."""
    start = datetime.now(UTC) - timedelta(days=30)
    lines = [
        json.dumps(
            {
                "event": "imported",
                "event_id": f"row-{number}",
                "anonymous_id": f"v{number}",
                "timestamp": (start + timedelta(minutes=number)).isoformat(),
                "properties": {"text": HARD_TEXT, "number": number},
            },
            ensure_ascii=number % 2 == 0,
        )
        for number in range(count)
    ]
    path.write_text("\n".join(lines) + "\n" * trailing_newline, encoding="utf-8")
    return lines


def last_line(ran):
    return ran.stdout.splitlines()[-1]


def test_every_recipe_of_the_track_skill_is_run_here(sh_blocks):
    assert [name for name in sh_blocks if name.startswith("track/")] == sorted(
        RECIPES, key=list(sh_blocks).index
    )


def test_the_quick_start_stores_the_event(shell, project, sh_blocks, run_script):
    ran = run_script(sh_blocks[TRACK].text, shell=shell, environ=project.environ)
    assert ran.json == {"ok": True, "event_id": "signup-42"}
    (row,) = project.rows()
    assert (row["event_name"], row["anonymous_id"], row["user_id"]) == (
        "signup",
        "u_abc",
        "user_42",
    )
    assert (row["source"], row["medium"]) == ("facebook", "paid")
    assert json.loads(row["properties"]) == {"plan": 'free, "for ever"'}


@pytest.fixture
def track_a_plan(track, sh_blocks):
    """The quick start with what the skill says to put there for text from elsewhere."""
    (argument,) = re.findall(r"`(--arg plan [^`]+)`", track.main.text)
    return re.sub(r"--arg plan '[^']+'", argument, sh_blocks[TRACK].text)


def test_any_text_survives(shell, project, track_a_plan, run_script):
    environ = project.environ | {"plan": HARD_TEXT}
    ran = run_script(track_a_plan, shell=shell, environ=environ)
    assert ran.code == 0, ran.stderr
    (row,) = project.rows()
    assert json.loads(row["properties"])["plan"] == HARD_TEXT


def test_properties_of_the_largest_size_survive(project, track_a_plan, run_script):
    """Every character of them is one that curl's configuration has to escape twice."""
    plan = '"\\' * 2030
    ran = run_script(track_a_plan, shell="bash", environ=project.environ | {"plan": plan})
    assert ran.code == 0, ran.stderr
    (row,) = project.rows()
    assert json.loads(row["properties"])["plan"] == plan
    assert len(row["properties"].encode()) > 8100


def test_identify_ties_the_visitor_to_the_user(shell, project, sh_blocks, run_script):
    ran = run_script(sh_blocks[IDENTIFY].text, shell=shell, environ=project.environ)
    assert ran.json == {"ok": True}
    (row,) = project.rows()
    assert (row["event_name"], row["anonymous_id"], row["user_id"]) == (
        "$identify",
        "u_abc",
        "user_42",
    )
    assert json.loads(row["properties"]) == {"plan": "pro"}


def test_forget_erases_the_user_and_nobody_else(shell, project, sh_blocks, run_script, wait_until):
    project.send(
        [
            {"event": "signup", "user_id": "user_42"},
            {"event": "$pageview", "anonymous_id": "u_abc"},
            {"event": "signup", "user_id": "user_43"},
        ]
    )
    ran = run_script(sh_blocks[FORGET].text, shell=shell, environ=project.environ)
    assert ran.json == {"ok": True, "queued": True}
    wait_until(lambda: project.count() == 2, timeout_s=FORGET_TIMEOUT_S)
    assert {row["user_id"] for row in project.rows()} == {None, "user_43"}


def test_a_batch_is_stored(shell, project, sh_blocks, run_script):
    ran = run_script(sh_blocks[BATCH].text, shell=shell, environ=project.environ)
    assert ran.json == {"ok": True, "count": 2}
    assert {(row["anonymous_id"], row["properties"]) for row in project.rows()} == {
        ("u_1", '{"amount_cents":4900}'),
        ("u_2", '{"amount_cents":1900}'),
    }


@pytest.fixture
def batch_of_a_file(track, sh_blocks):
    """The recipe with what the skill says to put in its place for a file."""
    (program,) = re.findall(r"`(jq -cs [^`]+)` take", track.main.text)
    head, literal = sh_blocks[BATCH].text.split("jq -cn '", 1)
    return head + program + " | (" + literal.split("| (", 1)[1]


def test_a_batch_takes_a_file_of_a_thousand_events(shell, project, batch_of_a_file, run_script):
    write_events(run_script.cwd / "events.ndjson", 1000)
    ran = run_script(batch_of_a_file, shell=shell, environ=project.environ)
    assert ran.json == {"ok": True, "count": 1000}
    assert project.count() == 1000
    texts = {json.loads(row["properties"])["text"] for row in project.rows()}
    assert texts == {HARD_TEXT}


def test_a_batch_takes_the_largest_events_a_thousand_times(project, batch_of_a_file, run_script):
    text = "\\" * 3900
    lines = [json.dumps({"event": "x", "properties": {"text": text}})] * 1000
    (run_script.cwd / "events.ndjson").write_text("\n".join(lines))
    ran = run_script(batch_of_a_file, shell="dash", environ=project.environ)
    assert ran.json == {"ok": True, "count": 1000}


@pytest.mark.parametrize(("count", "said"), [(0, "events"), (1001, "events")])
def test_a_batch_of_none_or_too_many_is_refused_whole(
    count, said, project, batch_of_a_file, run_script
):
    write_events(run_script.cwd / "events.ndjson", count)
    ran = run_script(batch_of_a_file, shell="bash", environ=project.environ)
    assert ran.code != 0
    (line,) = ran.stderr.splitlines()
    assert line.startswith('{"error":"invalid_payload"')
    assert line.endswith(" HTTP 400")
    assert said in line
    assert project.count() == 0


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 2500])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "open"])
def test_a_file_of_any_length_is_stored_once(count, end, last, project, sh_blocks, run_script):
    file = run_script.cwd / "events.ndjson"
    lines = write_events(file, count)
    file.write_text(end.join(lines) + end * last, encoding="utf-8", newline="")
    ran = run_script(sh_blocks[BULK].text, shell="dash", environ=project.environ)
    assert (ran.code, ran.stderr) == (0, "")
    assert last_line(ran) == f"{count} events of the first {count} lines are stored"
    assert project.count() == count
    stored = [row["event_id"] for row in project.rows()]
    assert stored == [f"row-{number}" for number in range(count - 1, -1, -1)][:1000]


def test_blank_lines_of_every_kind_are_passed_over(shell, project, sh_blocks, run_script):
    file = run_script.cwd / "events.ndjson"
    lines = write_events(file, 1200)
    file.write_text("\n\r\n" + "\r\n\n \t\n".join(lines) + "\n\n", newline="")
    ran = run_script(sh_blocks[BULK].text, shell=shell, environ=project.environ)
    assert (ran.code, ran.stderr) == (0, "")
    assert last_line(ran) == "1200 events of the first 3601 lines are stored"
    assert project.count() == 1200


def test_a_long_stretch_of_blank_lines_stops_nothing(shell, project, sh_blocks, run_script):
    file = run_script.cwd / "events.ndjson"
    file.write_text('{"event": "first"}' + "\n" * 2500 + '{"event": "last"}\n')
    ran = run_script(sh_blocks[BULK].text, shell=shell, environ=project.environ)
    assert (ran.code, ran.stderr) == (0, "")
    assert last_line(ran) == "2 events of the first 2501 lines are stored"


@pytest.mark.parametrize("size", [11_000_000, 11_000], ids=["one line", "a thousand"])
def test_more_than_a_request_may_hold_is_said_and_not_stored(
    size, shell, project, sh_blocks, run_script
):
    long = json.dumps({"event": "x", "referrer": "r" * size})
    count = 1 if size > 10_000_000 else 1200
    file = run_script.cwd / "events.ndjson"
    file.write_text("\n".join(['{"event": "first"}'] * 1000 + [long] * count) + "\n")
    ran = run_script(sh_blocks[BULK].text, shell=shell, environ=project.environ)
    assert ran.code != 0
    assert ran.stdout == "1000 events of the first 1000 lines are stored\n"
    assert ran.stderr.splitlines()[-2:] == [
        '{"error":"payload_too_large"} HTTP 413',
        "stopped after line 1000",
    ]
    assert project.count() == 1000


def test_a_file_s_long_numbers_and_blank_lines_survive(shell, project, sh_blocks, run_script):
    lines = '{"event": "x", "properties": {"id": 12345678901234567891}}\n\n{"event": "y"}\n  \n'
    (run_script.cwd / "events.ndjson").write_text(lines)
    ran = run_script(sh_blocks[BULK].text, shell=shell, environ=project.environ)
    assert ran.code == 0, ran.stderr
    assert {row["properties"] for row in project.rows()} == {"{}", '{"id":12345678901234567891}'}


def test_a_file_is_sent_in_requests_of_a_thousand(shell, project, sh_blocks, run_script):
    lines = write_events(run_script.cwd / "events.ndjson", 2300)
    ran = run_script(sh_blocks[BULK].text, shell=shell, environ=project.environ)
    assert ran.code == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        f"{count} events of the first {count} lines are stored" for count in (1000, 2000, 2300)
    ]
    assert project.count() == 2300
    newest = project.rows(limit=1)[0]
    assert newest["event_id"] == "row-2299"
    assert json.loads(newest["properties"]) == {"text": HARD_TEXT, "number": 2299}
    assert len(lines) == 2300


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, "interrupted after line 1000\n"),
        (signal.SIGTERM, "interrupted after line 1000\n"),
        (signal.SIGKILL, ""),
    ],
    ids=["interrupted", "ended", "killed"],
)
def test_an_import_that_is_stopped_has_said_how_far_it_got(
    number, said, shell, sh_blocks, run_script, scripted_api
):
    """While its second request is under way, as a terminal or a time limit does it."""
    write_events(run_script.cwd / "events.ndjson", 2500)
    pid = run_script.cwd / "pid"

    def stop():
        os.killpg(int(pid.read_text()), number)

    with scripted_api((202, {}, {"ok": True, "count": 1000}), stop) as (environ, calls):
        script = f"echo $$ > {pid.name}\n{sh_blocks[BULK].text}"
        ran = run_script(script, shell=shell, environ=environ)
    assert ran.code != 0
    assert ran.stdout == "1000 events of the first 1000 lines are stored\n"
    assert ran.stderr.endswith(said)
    assert len(calls) == 2


def test_a_file_is_sent_at_no_more_than_five_requests_a_second(project, sh_blocks, run_script):
    write_events(run_script.cwd / "events.ndjson", 1001)
    ran = run_script(sh_blocks[BULK].text, shell="bash", environ=project.environ)
    tools = [command[0] for command in ran.commands if command[0] in {"curl", "sleep"}]
    assert tools == ["curl", "sleep", "curl", "sleep"]
    assert ran.calls_of("sleep") == [["0.2"], ["0.2"]]


def test_nothing_of_a_file_is_left_behind(shell, project, sh_blocks, run_script, tmp_path):
    write_events(run_script.cwd / "events.ndjson", 3)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environ = project.environ | {"TMPDIR": str(temporary)}
    assert run_script(sh_blocks[BULK].text, shell=shell, environ=environ).code == 0
    assert run_script(sh_blocks[WAIT].text, shell=shell, environ=environ).code == 0
    assert list(temporary.iterdir()) == []
    assert [path.name for path in run_script.cwd.iterdir()] == ["events.ndjson"]


def test_the_last_line_needs_no_newline(shell, project, sh_blocks, run_script):
    write_events(run_script.cwd / "events.ndjson", 1002, trailing_newline=False)
    ran = run_script(sh_blocks[BULK].text, shell=shell, environ=project.environ)
    assert last_line(ran) == "1002 events of the first 1002 lines are stored"
    assert project.count() == 1002


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"event": }', " at line 6,"),
        ('{"event": "cut', " at line 7,"),
        ('{"evnt": "x"}', "events[5].event"),
    ],
    ids=["broken JSON", "a text that is not closed", "an invalid event"],
)
def test_a_bad_line_stops_and_says_where_to_go_on(
    line, said, shell, project, sh_blocks, run_script
):
    file = run_script.cwd / "events.ndjson"
    lines = write_events(file, 1500)
    file.write_text("\n".join([*lines[:1005], line, *lines[1005:]]) + "\n", encoding="utf-8")
    ran = run_script(sh_blocks[BULK].text, shell=shell, environ=project.environ)
    assert ran.code != 0
    assert ran.stdout == "1000 events of the first 1000 lines are stored\n"
    assert "stopped after line 1000" in ran.stderr
    assert said in ran.stderr
    assert project.count() == 1000
    file.write_text("\n".join(lines[1000:]) + "\n", encoding="utf-8")
    assert run_script(sh_blocks[BULK].text, shell=shell, environ=project.environ).code == 0
    assert project.count() == 1500


@pytest.mark.parametrize("content", [None, ""], ids=["no file", "an empty file"])
def test_without_events_nothing_is_sent(content, shell, project, sh_blocks, run_script):
    if content is not None:
        (run_script.cwd / "events.ndjson").write_text(content)
    ran = run_script(sh_blocks[BULK].text, shell=shell, environ=project.environ)
    assert ran.code != 0
    assert ran.calls_of("curl") == []


@pytest.mark.parametrize("name", [BULK, WAIT])
def test_a_429_is_waited_out_for_as_long_as_it_says(name, shell, narrow_api, sh_blocks, run_script):
    project = narrow_api.new_project(f"narrow-{shell}-{name.split('/')[1][:4]}")
    write_events(run_script.cwd / "events.ndjson", 1001)
    runs = 1 if name == BULK else 2
    for _ in range(runs):
        ran = run_script(sh_blocks[name].text, shell=shell, environ=project.environ)
        assert ran.code == 0, ran.stderr
    assert project.count() == (1001 if name == BULK else 2)
    if shell != "busybox":  # whose sleep is no program of its own
        waits = [int(seconds) for (seconds,) in ran.calls_of("sleep") if "." not in seconds]
        assert waits
        assert set(waits) <= {1, 2}


@pytest.mark.parametrize("name", [BULK, WAIT])
@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ({"Retry-After": "3"}, "3"),
        ({"retry-after": "2"}, "2"),
        ({"RETRY-AFTER": "3"}, "3"),
        ({"Retry-After": "2", "retry-after": "3"}, "3"),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, "1"),
        ({}, "1"),
    ],
    ids=["Retry-After", "in lower case", "in capitals", "twice", "a date", "absent"],
)
def test_the_wait_is_what_the_429_says(name, header, wait, sh_blocks, run_script, scripted_api):
    write_events(run_script.cwd / "events.ndjson", 1)
    with scripted_api((429, header, {"error": "rate_limited"}), STORED) as (environ, calls):
        ran = run_script(sh_blocks[name].text, shell="bash", environ=environ)
    assert ran.code == 0, ran.stderr
    assert [seconds for (seconds,) in ran.calls_of("sleep") if seconds != "0.2"] == [wait]
    assert len(calls) == 2
    assert calls[0] == calls[1]


@pytest.mark.parametrize("name", [BULK, WAIT, TRACK])
@pytest.mark.parametrize(
    "answer",
    [
        (502, {}, {"error": "upstream_failed"}),
        (500, {}, {"error": "internal_error"}),
        (504, {}, {"error": "a proxy's own"}),
    ],
    ids=["502", "500", "504"],
)
def test_what_may_be_stored_is_not_sent_again(name, answer, sh_blocks, run_script, scripted_api):
    write_events(run_script.cwd / "events.ndjson", 1)
    with scripted_api(answer, STORED) as (environ, calls):
        ran = run_script(sh_blocks[name].text, shell="bash", environ=environ)
    assert ran.code != 0
    assert answer[2]["error"] in ran.stderr
    assert len(calls) == 1


def test_an_event_that_is_refused_ends_with_the_reason(shell, project, sh_blocks, run_script):
    recipe = sh_blocks[TRACK].text.replace('event: "signup"', 'event: ""')
    ran = run_script(recipe, shell=shell, environ=project.environ)
    assert ran.code != 0
    assert ran.stdout == ""
    assert "invalid_payload" in ran.stderr
    assert "fieldErrors" in ran.stderr
    assert project.count() == 0


@pytest.mark.parametrize("name", [TRACK, BULK, WAIT])
def test_an_api_that_does_not_answer_is_an_error(name, shell, project, sh_blocks, run_script):
    write_events(run_script.cwd / "events.ndjson", 2)
    environ = project.environ | {"MILLIMETRIC_HOST": "http://127.0.0.1:9"}
    ran = run_script(sh_blocks[name].text, shell=shell, environ=environ)
    assert ran.code != 0
    assert "curl: (7)" in ran.stderr
