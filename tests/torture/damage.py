"""Damaged files: a data part cut short, and a journal with wrong bytes. Both are named."""

import signal
import time

from tests.torture.harness import none, run_api

EVENTS = 6000


def torture_part(directory):
    """A part that lies alone is cut in half while the API is stopped."""
    data_dir = directory / "part"
    with run_api(data_dir) as api:
        for _ in range(20):
            api.post("/v1/batch", {"events": [{"event": "e"}] * (EVENTS // 20)})
        stored = api.count()
    parts = list(data_dir.glob("store/data/millimetric/events/*/data.packed"))
    for part in parts:  # of those that merges have replaced too
        part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    with run_api(data_dir) as api:
        deadline_s = time.monotonic() + 15
        while time.monotonic() < deadline_s:
            ready = api.ask("GET", "/health/ready").json()
            answer = api.read("/v1/query", limit=1000)
            if "notes" in ready:
                break
            time.sleep(0.5)
        # What can't be read is refused, or left out with a note.
        is_silent = answer.is_success and "notes" not in answer.json()
        log = api.log.read_text()
        is_named = any(part.parent.name in log for part in parts)
        writes = [api.track("after") for _ in range(5)]
        unexpected = api.count_unexpected()
    return [
        none("events missing before the damage", EVENTS - stored),
        none("answers of a store with a damaged part that don't say so", int(is_silent)),
        none("damaged parts that the log does not name", int(not is_named)),
        none("writes refused beside a damaged part", len(writes) - writes.count(202)),
        none("unexpected errors of a damaged part", unexpected),
    ]


def change_byte(content):
    """Change a byte of the last line; return how many requests that costs."""
    content[content.rindex(b"\n") - 20] ^= 1
    return 1


def overwrite_page(content):
    """Overwrite the first page with zeros, with it the file's own first line."""
    lost = content.count(b"\n", 0, 4096)
    content[:4096] = bytes(4096)
    return lost


def torture_journal(directory, damage, name):
    """The process is killed with events in the journal, and the file is damaged."""
    data_dir = directory / name.replace(" ", "-")
    with run_api(data_dir) as api:
        api.count()
        api.process.send_signal(signal.SIGSTOP)
        api.process.send_signal(signal.SIGCONT)
        for number in range(200):
            api.track("j", user_id=f"u{number}")
            if (files := list(data_dir.glob("store/journal/**/*.journal"))) and number >= 50:
                api.end(signal.SIGKILL)
                break
    longest = max(files, key=lambda file: file.read_bytes().count(b"\n"))
    content = bytearray(longest.read_bytes())
    expected = number + 1 - damage(content)
    longest.write_bytes(content)
    with run_api(data_dir) as api:
        stored = api.count(event="j")
        log = api.log.read_text()
        kept = len(list(data_dir.glob("store/journal/**/*.damaged")))
        unexpected = api.count_unexpected()
    return [
        none(f"events lost beside {name} of the journal", expected - stored),
        none(f"journals with {name} that the log does not name", int("damaged" not in log)),
        none(f"journals with {name} that are not kept", int(kept != 1)),
        none(f"unexpected errors of {name} of the journal", unexpected),
    ]


def run(scale, directory):
    return [
        *torture_part(directory),
        *torture_journal(directory, change_byte, "a changed line"),
        *torture_journal(directory, overwrite_page, "an overwritten page"),
    ]
