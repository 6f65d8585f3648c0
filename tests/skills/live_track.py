"""Every recipe of the track skill, and what the API stores after it."""

import json
import os
import signal
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

TRACK = "track/SKILL: Track one event"
IDENTIFY = "track/SKILL: Identify."
FORGET = "track/SKILL: Forget"
BATCH = "track/SKILL: Batch"
IMPORT = "track/bulk: Import a file of events"
CONTINUE = "track/bulk: When it stops"
RECIPES = [TRACK, IDENTIFY, FORGET, BATCH, IMPORT, CONTINUE]
BULK = "scripts/mm batch events.ndjson"
LOOK_AFTER_1000 = (
    "mm: Stopped after line 1000. The next 1000 lines may be stored. "
    "Look for one of them before you continue.\n"
)
CONTINUE_AFTER_1000 = "mm: Stopped after line 1000. To continue: tail -n +1001 FILE | mm batch -"
ONE = "scripts/mm track event=signup anonymous_id=u_abc"
HARD_TEXT = (
    "\"double\" 'single' back\\slash \\u0041\nnew line\ttab café 日本 🦊 $HOME `id` %s @file {}"
)
FORGET_TIMEOUT_S = 60
STORED = (202, {}, {"ok": True, "count": 1, "event_id": None})


@pytest.fixture
def scripted_api():
    """Return a server that sends one response after the other, and the bodies it received.

    A response that is a function is called, and nothing is sent.
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
                """Write no log."""

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
    """Write an NDJSON file of events with every character that could cause an error."""
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


def test_every_recipe_of_the_track_skill_is_run(sh_blocks):
    assert [name for name in sh_blocks if name.startswith("track/")] == RECIPES
    assert sh_blocks[BATCH].text == sh_blocks[IMPORT].text == f"{BULK}\n"


# --- One event ----------------------------------------------------------------------------------


def test_track_stores_the_event(shell, project, sh_blocks, run_script):
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


@pytest.mark.parametrize("text", [HARD_TEXT, "=", "a=b:=c", "", "-x"], ids=range(5))
def test_track_stores_any_text(text, shell, project, run_script):
    script = 'scripts/mm track event=x "properties.plan=$plan"'
    ran = run_script(script, shell=shell, environ=project.environ | {"plan": text})
    assert ran.code == 0, ran.stderr
    (row,) = project.rows()
    assert json.loads(row["properties"]) == {"plan": text}


def test_track_stores_properties_of_the_largest_size(project, run_script):
    plan = '"\\' * 2030
    script = 'scripts/mm track event=x "properties.plan=$plan"'
    ran = run_script(script, shell="bash", environ=project.environ | {"plan": plan})
    assert ran.code == 0, ran.stderr
    (row,) = project.rows()
    assert json.loads(row["properties"])["plan"] == plan
    assert len(row["properties"].encode()) > 8100


def test_track_sends_what_the_table_of_fields_says(shell, track, run_script, scripted_api):
    """The rows before the last two, which read a variable and standard input."""
    rows = track.document("fields").table("You write")[:-2]
    for row in rows:
        with scripted_api(STORED) as (environ, calls):
            script = f"scripts/mm track {row['You write'].strip('`')}"
            ran = run_script(script, shell=shell, environ=environ)
        assert ran.code == 0, ran.stderr
        assert json.loads(calls[0]) == json.loads(row["You send"].strip("`"))


def test_track_sends_standard_input_as_it_is(shell, run_script, scripted_api):
    body = '{"event": "x", "properties": {"id": 12345678901234567891, "é": "é\\u0041"}}'
    with scripted_api(STORED) as (environ, calls):
        script = f"cat << 'END' | scripts/mm track -\n{body}\nEND"
        ran = run_script(script, shell=shell, environ=environ)
    assert ran.code == 0, ran.stderr
    assert calls == [f"{body}\n".encode()]


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


def test_forget_deletes_the_user_and_no_other(shell, project, sh_blocks, run_script, wait_until):
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


def test_an_invalid_event_ends_with_the_reason(shell, project, run_script):
    ran = run_script("scripts/mm track event=", shell=shell, environ=project.environ)
    assert (ran.code, ran.stdout) == (1, "")
    assert "invalid_payload" in ran.stderr
    assert "fieldErrors" in ran.stderr
    assert project.count() == 0


# --- A file of events ---------------------------------------------------------------------------


def test_batch_stores_a_file(shell, project, sh_blocks, run_script):
    write_events(run_script.cwd / "events.ndjson", 1000)
    ran = run_script(sh_blocks[BATCH].text, shell=shell, environ=project.environ)
    assert ran.stdout == "Stored 1000 events of the first 1000 lines.\n"
    assert project.count() == 1000
    texts = {json.loads(row["properties"])["text"] for row in project.rows()}
    assert texts == {HARD_TEXT}


def test_batch_stores_the_largest_events(project, run_script):
    text = "\\" * 3900
    lines = [json.dumps({"event": "x", "properties": {"text": text}})] * 1000
    (run_script.cwd / "events.ndjson").write_text("\n".join(lines))
    ran = run_script(BULK, shell="dash", environ=project.environ)
    assert ran.stdout == "Stored 1000 events of the first 1000 lines.\n"


def test_batch_sends_as_many_events_per_request_as_it_is_given(shell, project, run_script):
    write_events(run_script.cwd / "events.ndjson", 25)
    ran = run_script(f"{BULK} 10", shell=shell, environ=project.environ)
    assert ran.stdout.splitlines() == [
        f"Stored {count} events of the first {count} lines." for count in (10, 20, 25)
    ]
    assert project.count() == 25


def test_batch_continues_from_standard_input(shell, project, sh_blocks, run_script):
    write_events(run_script.cwd / "events.ndjson", 3010)
    (run_script.cwd / "tail").write_text('#!/bin/sh\nexec busybox tail "$@"\n')
    (run_script.cwd / "tail").chmod(0o755)
    script = f'PATH="$PATH:$PWD"\n{sh_blocks[CONTINUE].text}'
    ran = run_script(script, shell=shell, environ=project.environ, clients=("busybox",))
    assert ran.stdout == "Stored 10 events of the first 10 lines.\n"
    newest, *_, oldest = project.rows()
    assert (newest["event_id"], oldest["event_id"]) == ("row-3009", "row-3000")


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 2500])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "open"])
def test_batch_stores_a_file_of_any_length_once(count, end, last, project, run_script):
    file = run_script.cwd / "events.ndjson"
    lines = write_events(file, count)
    file.write_text(end.join(lines) + end * last, encoding="utf-8", newline="")
    ran = run_script(BULK, shell="dash", environ=project.environ)
    assert (ran.code, ran.stderr) == (0, "")
    assert last_line(ran) == f"Stored {count} events of the first {count} lines."
    assert project.count() == count
    stored = [row["event_id"] for row in project.rows()]
    assert stored == [f"row-{number}" for number in range(count - 1, -1, -1)][:1000]


def test_batch_skips_blank_lines_of_every_kind(shell, project, run_script):
    file = run_script.cwd / "events.ndjson"
    lines = write_events(file, 1200)
    file.write_text("\n\r\n" + "\r\n\n \t\n".join(lines) + "\n\n", newline="")
    ran = run_script(BULK, shell=shell, environ=project.environ)
    assert (ran.code, ran.stderr) == (0, "")
    assert last_line(ran) == "Stored 1200 events of the first 3601 lines."
    assert project.count() == 1200


def test_batch_skips_more_blank_lines_than_a_request_has(shell, project, run_script):
    file = run_script.cwd / "events.ndjson"
    file.write_text('{"event": "first"}' + "\n" * 2500 + '{"event": "last"}\n')
    ran = run_script(BULK, shell=shell, environ=project.environ)
    assert (ran.code, ran.stderr) == (0, "")
    assert last_line(ran) == "Stored 2 events of the first 2501 lines."


@pytest.mark.parametrize("size", [11_000_000, 11_000], ids=["one line", "a thousand"])
def test_batch_stops_at_a_request_that_is_too_large(size, shell, project, run_script):
    long = json.dumps({"event": "x", "referrer": "r" * size})
    count = 1 if size > 10_000_000 else 1200
    file = run_script.cwd / "events.ndjson"
    file.write_text("\n".join(['{"event": "first"}'] * 1000 + [long] * count) + "\n")
    ran = run_script(BULK, shell=shell, environ=project.environ)
    assert ran.code != 0
    assert ran.stdout == "Stored 1000 events of the first 1000 lines.\n"
    happened, to_do, stopped = ran.stderr.splitlines()
    assert (happened, to_do, stopped) == (
        'mm: HTTP 413 {"error":"payload_too_large"}',
        "mm: Send fewer events per request, or smaller ones: mm batch FILE 100.",
        CONTINUE_AFTER_1000,
    )
    assert project.count() == 1000


def test_batch_keeps_every_digit_of_long_integers(shell, project, run_script):
    lines = '{"event": "x", "properties": {"id": 12345678901234567891}}\n\n{"event": "y"}\n  \n'
    (run_script.cwd / "events.ndjson").write_text(lines)
    ran = run_script(BULK, shell=shell, environ=project.environ)
    assert ran.code == 0, ran.stderr
    assert {row["properties"] for row in project.rows()} == {"{}", '{"id":12345678901234567891}'}


def test_batch_sends_requests_of_a_thousand_events(shell, project, run_script):
    lines = write_events(run_script.cwd / "events.ndjson", 2300)
    ran = run_script(BULK, shell=shell, environ=project.environ)
    assert ran.code == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        f"Stored {count} events of the first {count} lines." for count in (1000, 2000, 2300)
    ]
    assert project.count() == 2300
    newest = project.rows(limit=1)[0]
    assert newest["event_id"] == "row-2299"
    assert json.loads(newest["properties"]) == {"text": HARD_TEXT, "number": 2299}
    assert len(lines) == 2300


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, LOOK_AFTER_1000),
        (signal.SIGTERM, LOOK_AFTER_1000),
        (signal.SIGKILL, ""),
    ],
    ids=["interrupted", "ended", "killed"],
)
def test_batch_says_how_far_it_got_when_it_is_interrupted(
    number, said, shell, run_script, scripted_api
):
    """During its second request, as a terminal or a time limit does it."""
    write_events(run_script.cwd / "events.ndjson", 2500)
    pid = run_script.cwd / "pid"

    def stop():
        os.killpg(int(pid.read_text()), number)

    with scripted_api((202, {}, {"ok": True, "count": 1000}), stop) as (environ, calls):
        script = f"echo $$ > {pid.name}\n{BULK}\n"
        ran = run_script(script, shell=shell, environ=environ)
    assert ran.code != 0
    assert ran.stdout == "Stored 1000 events of the first 1000 lines.\n"
    assert ran.stderr.endswith(said)
    assert len(calls) == 2


def test_batch_sends_at_most_five_requests_a_second(project, run_script):
    write_events(run_script.cwd / "events.ndjson", 1001)
    ran = run_script(BULK, shell="bash", environ=project.environ)
    tools = [command[0] for command in ran.commands if command[0] in {"curl", "sleep"}]
    assert tools == ["curl", "sleep", "curl", "sleep"]
    assert ran.calls_of("sleep") == [["0.2"], ["0.2"]]


def test_batch_stores_a_last_line_without_newline(shell, project, run_script):
    write_events(run_script.cwd / "events.ndjson", 1002, trailing_newline=False)
    ran = run_script(BULK, shell=shell, environ=project.environ)
    assert last_line(ran) == "Stored 1002 events of the first 1002 lines."
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
def test_batch_stops_at_an_invalid_line_and_continues_after_it(
    line, said, shell, project, run_script
):
    file = run_script.cwd / "events.ndjson"
    lines = write_events(file, 1500)
    file.write_text("\n".join([*lines[:1005], line, *lines[1005:]]) + "\n", encoding="utf-8")
    ran = run_script(BULK, shell=shell, environ=project.environ)
    assert ran.code != 0
    assert ran.stdout == "Stored 1000 events of the first 1000 lines.\n"
    assert ran.stderr.splitlines()[-1] == CONTINUE_AFTER_1000
    assert said in ran.stderr
    assert project.count() == 1000
    file.write_text("\n".join(lines[1000:]) + "\n", encoding="utf-8")
    assert run_script(BULK, shell=shell, environ=project.environ).code == 0
    assert project.count() == 1500


@pytest.mark.parametrize("content", [None, ""], ids=["no file", "an empty file"])
def test_batch_sends_nothing_when_there_are_no_events(content, shell, project, run_script):
    if content is not None:
        (run_script.cwd / "events.ndjson").write_text(content)
    ran = run_script(BULK, shell=shell, environ=project.environ)
    assert ran.code != 0
    assert ran.calls_of("curl") == []


# --- Errors that may pass -----------------------------------------------------------------------


@pytest.mark.parametrize(("command", "count"), [(BULK, 1001), (ONE, 2)], ids=["batch", "track"])
def test_mm_waits_after_a_429_and_sends_again(command, count, shell, narrow_api, run_script):
    project = narrow_api.new_project(f"narrow-{shell}-{count}")
    write_events(run_script.cwd / "events.ndjson", 1001)
    script = command if command == BULK else f"{ONE} && {ONE}"
    ran = run_script(script, shell=shell, environ=project.environ)
    assert (ran.code, ran.stderr) == (0, "")
    assert project.count() == count
    if shell != "busybox":  # its sleep is a builtin
        waits = [int(seconds) for (seconds,) in ran.calls_of("sleep") if "." not in seconds]
        assert waits
        assert set(waits) <= {1, 2}


@pytest.mark.parametrize("command", [BULK, ONE], ids=["batch", "track"])
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
    ids=["Retry-After", "lower-case", "capitals", "twice", "date", "absent"],
)
def test_mm_waits_as_long_as_the_429_says(command, header, wait, run_script, scripted_api):
    write_events(run_script.cwd / "events.ndjson", 1)
    with scripted_api((429, header, {"error": "rate_limited"}), STORED) as (environ, calls):
        ran = run_script(command, shell="bash", environ=environ)
    assert ran.code == 0, ran.stderr
    assert [seconds for (seconds,) in ran.calls_of("sleep") if seconds != "0.2"] == [wait]
    assert len(calls) == 2
    assert calls[0] == calls[1]


def test_mm_stops_after_ten_times_429(run_script, scripted_api):
    limited = (429, {"Retry-After": "0"}, {"error": "rate_limited"})
    with scripted_api(*[limited] * 10) as (environ, calls):
        ran = run_script(ONE, shell="dash", environ=environ)
    assert ran.code == 1
    assert ran.stderr.endswith("mm: Nothing was stored. Try again in 0 seconds.\n")
    assert len(calls) == 10


@pytest.mark.parametrize("command", [BULK, ONE], ids=["batch", "track"])
@pytest.mark.parametrize(
    "answer",
    [
        (502, {}, {"error": "upstream_failed"}),
        (500, {}, {"error": "internal_error"}),
        (504, {}, {"error": "timeout_of_a_proxy"}),
    ],
    ids=["502", "500", "504"],
)
def test_mm_does_not_send_again_what_may_be_stored(command, answer, run_script, scripted_api):
    write_events(run_script.cwd / "events.ndjson", 1)
    with scripted_api(answer, STORED) as (environ, calls):
        ran = run_script(command, shell="bash", environ=environ)
    assert (ran.code, ran.stdout) == (3, "")
    happened, to_do, *_ = ran.stderr.splitlines()
    assert answer[2]["error"] in happened
    assert to_do == "mm: It may be stored. Look for it before you send it again."
    assert len(calls) == 1


def test_mm_says_that_an_event_may_be_stored_when_the_connection_ends(run_script, scripted_api):
    with scripted_api(lambda: None) as (environ, calls):
        ran = run_script(ONE, shell="dash", environ=environ)
    assert (ran.code, ran.stdout) == (3, "")
    happened, to_do = ran.stderr.splitlines()
    assert happened.startswith("mm: curl: (52) ")
    assert to_do == "mm: It may be stored. Look for it before you send it again."
    assert len(calls) == 1
