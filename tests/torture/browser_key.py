"""What anybody can do with the browser key of a page: bounded, and the owner goes on."""

import json
import os
import random
import time
from statistics import median

from bench.processes import settle
from tests.torture.harness import at_most, none, run_api

NAMES = 20_000
"""The default of ``--browser-names``."""
BROWSER_MB_PER_DAY = 20
OWN_BATCHES = 20
STEADY_S, SETTLES_S = 15, 90
MOST_DISK = 2
"""The store keeps the properties of named events twice; compressed, unless they are random."""
READS = (
    ("/v1/stats", {"group_by": "event_name", "interval": "day"}),
    ("/v1/sources", {}),
    ("/v1/query", {}),
)
WIDEST = {"group_by": "event_name,source,medium", "metric": "uniques", "interval": "week"}


def invent(number):
    """Return an event whose event name, source and campaign are new."""
    utm = f"utm_source=s{number}&utm_medium=m&utm_campaign=c{number}"
    return {"event": f"n{number}", "url": f"https://shop.example/?{utm}"}


def flood_names(api, batches):
    """Return the status and code of each of ``batches``, which are of 1000 invented names."""
    answers = [
        api.ask(
            "POST",
            "/v1/batch",
            key="pk",
            json={"events": [invent(batch * 1000 + row) for row in range(1000)]},
        )
        for batch in batches
    ]
    return [(answer.status_code, answer.json().get("error")) for answer in answers]


def use_known_name(api):
    return api.ask("POST", "/v1/track", key="pk", json=invent(5)).status_code


def write_long_text(rng):
    """Return random text of 8 kB that takes 4 bytes a character, and compresses little."""
    return "".join(chr(0x10000 + rng.randrange(0x8000)) for _ in range(2000))


def flood_bytes(api):
    """Return the code of the first refused batch of 8 MB, and how many were taken before."""
    rng = random.Random(1)
    for taken in range(10):
        events = [invent(1) | {"properties": {"p": write_long_text(rng)}} for _ in range(1000)]
        body = json.dumps({"events": events}, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        answer = api.ask("POST", "/v1/batch", key="pk", content=body, headers=headers)
        if answer.status_code != 202:
            return answer.json()["error"], taken
    return "", taken


def write_own_events(api):
    """Write what two projects have before the flood."""
    for key in ("sk", "other sk"):
        for batch in range(OWN_BATCHES):
            events = [
                {
                    "event": f"own{row % 20}",
                    "anonymous_id": f"a{batch}-{row}",
                    "url": f"https://shop.example/{row}?utm_source=s{row % 50}&utm_medium=m",
                }
                for row in range(1000)
            ]
            api.post("/v1/batch", {"events": events}, key=key)


def measure_reads(api, key, rounds):
    """Return the median time of the reads of a key's project, in ms."""
    answers = [api.read(path, key=key, **params) for _ in range(rounds) for path, params in READS]
    return median(answer.raise_for_status().elapsed.total_seconds() * 1000 for answer in answers)


def measure_disk_mb(directory):
    """Return what the files of a directory take on the disk, in MB (10⁶ bytes).

    Parts that a merge replaced go after seconds, so it is measured until it stays the same.
    """
    found = []
    for _ in range(SETTLES_S):
        found.append(count_blocks(directory) * 512 / 1e6)
        newest = found[-STEADY_S:]
        if len(newest) == STEADY_S and max(newest) - min(newest) < 0.1:
            break
        time.sleep(1)
    return found[-1]


def count_blocks(directory):
    blocks = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            try:
                blocks += os.lstat(os.path.join(parent, name)).st_blocks
            except FileNotFoundError:  # a merge has removed it
                continue
    return blocks


def run(scale, directory):
    options = ["--browser-mb-per-day", str(BROWSER_MB_PER_DAY)]
    rounds = int(scale.pick(20, 5))
    with run_api(directory / "data", *options) as api:
        write_own_events(api)
        settle(api.process.pid)
        before_mb = measure_disk_mb(api.data_dir)
        before_ms = {key: measure_reads(api, key, rounds) for key in ("rk", "other rk")}
        answers = flood_names(api, range(30))
        known = [use_known_name(api)]
        code, taken = flood_bytes(api)
        owner = [api.track("sale", key="sk") for _ in range(20)]
        settle(api.process.pid)
        grown_mb = measure_disk_mb(api.data_dir) - before_mb
        after_ms = {key: measure_reads(api, key, rounds) for key in before_ms}
        widest = [api.read("/v1/stats", limit=1000, **WIDEST) for _ in range(3)]
        sources = [api.read("/v1/sources", limit=200) for _ in range(3)]
    with run_api(directory / "data", *options) as api:
        known.append(use_known_name(api))
        settle(api.process.pid)  # the names in use are loaded beside the first one
        answers += flood_names(api, range(30, 40))
        known.append(use_known_name(api))
        unexpected = api.count_unexpected()
    accepted = sum(status == 202 for status, _ in answers) * 1000
    wrongly = sum(answer not in {(202, None), (403, "too_many_names")} for answer in answers)
    slowest_s = max(answer.elapsed.total_seconds() for answer in [*widest, *sources])
    unanswered = sum(answer.status_code != 200 for answer in [*widest, *sources])
    return [
        at_most("invented names that a browser key brings into a project", accepted, NAMES, ""),
        none("invented names refused with another code than too_many_names", wrongly),
        none("known names refused beside them", len(known) - known.count(202)),
        at_most(
            f"batches of 8 MB taken at a bound of {BROWSER_MB_PER_DAY} MiB a day", taken, 2, ""
        ),
        none(
            "of them refused with another code than daily_limit_reached",
            int(code != "daily_limit_reached"),
        ),
        none("events of the owner's server key refused then", len(owner) - owner.count(202)),
        none("of the widest questions of the owner not answered then", unanswered),
        at_most("slowest of them", slowest_s, 5, "s"),
        at_most("median read of the owner then ÷ before", after_ms["rk"] / before_ms["rk"], 5, "×"),
        at_most(
            "median read of another project then ÷ before",
            after_ms["other rk"] / before_ms["other rk"],
            3,
            "×",
        ),
        at_most(
            f"disk that the flood took ÷ the bound of {BROWSER_MB_PER_DAY} MiB",
            grown_mb * 1e6 / (BROWSER_MB_PER_DAY << 20),
            MOST_DISK,
            "×",
        ),
        none("unexpected errors of a browser key's flood", unexpected),
    ]
