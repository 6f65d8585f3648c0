"""A disk that fills up: what was acknowledged stays, what was refused is not there. Needs root."""

import os
import subprocess
import time
from contextlib import contextmanager

from tests.torture.harness import at_most, none, run_api

SIZES = (1, 150, 1000)
AFTER_FIRST_REFUSAL = 60


@contextmanager
def mount_small(directory, size_mb):
    directory.mkdir()
    options = f"size={size_mb}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def send(api, name, events, sent):
    """Send one batch of events that don't compress; return its status."""
    rows = [{"event": name, "properties": {"r": os.urandom(1000).hex()}} for _ in range(events)]
    answer = api.ask("POST", "/v1/batch", json={"events": rows})
    sent[name] = (events, answer.status_code)
    return answer


def fill(api, sent):
    """Send batches until some are refused, and some more; return the slowest refusal's time."""
    slowest_s, first = 0.0, None
    for number in range(900):
        answer = send(api, f"b{number}", SIZES[number % len(SIZES)], sent)
        if answer.status_code != 202:
            slowest_s = max(slowest_s, answer.elapsed.total_seconds())
            first = number if first is None else first
        if first is not None and number > first + AFTER_FIRST_REFUSAL:
            return slowest_s
    raise RuntimeError("the disk did not fill up")


def is_wrongly_ready(api, number, sent):
    """Return whether the API is ready between two writes that it refuses."""
    time.sleep(1.1)  # a readiness is as old as a second
    before = send(api, f"before{number}", 1, sent).status_code
    ready = api.ask("GET", "/health/ready").status_code
    after = send(api, f"after{number}", 1, sent).status_code
    return before == after == 503 != ready


def count_faults(api, sent):
    rows = api.read("/v1/stats", group_by="event_name", limit=1000).raise_for_status().json()
    stored = {row["event_name"]: row["value"] for row in rows["rows"]}
    return sum(
        stored.get(name, 0) != (events if status == 202 else 0)
        for name, (events, status) in sent.items()
    )


def run(scale, directory):
    sent = {}
    with mount_small(directory / "small", 180) as disk:
        with run_api(disk / "data") as api:
            slowest_s = fill(api, sent)
            other = sum(status not in {202, 503} for _, status in sent.values())
            unread = sum(api.read(path).status_code != 200 for path in ("/v1/sources", "/v1/query"))
            wrongly_ready = sum(is_wrongly_ready(api, number, sent) for number in range(3))
            subprocess.run(["mount", "-o", "remount,size=720m", disk], check=True)
            room = [send(api, f"room{number}", 150, sent).status_code for number in range(10)]
            faults = count_faults(api, sent)
            unexpected = api.count_unexpected()
        with run_api(disk / "data") as api:
            faults += count_faults(api, sent)
    return [
        none(f"of {len(sent)} batches on a full disk: wrongly stored or lost", faults),
        none("writes on a full disk with another answer than 202 or 503", other),
        at_most("slowest refusal on a full disk", slowest_s, 2, "s"),
        none("reads refused on a full disk", unread),
        none("answers of a full disk that call it ready", wrongly_ready),
        none("writes refused after room was made", sum(status != 202 for status in room)),
        none("unexpected errors on a full disk", unexpected),
    ]
