"""A system clock that jumps an hour ahead and back: deletions are complete, nothing is doubled."""

import time

from tests.torture.harness import none, run_api

JUMPS_S = (0, 3600, 0, -3600, 0)
DELETION_TIMEOUT_S = 90


def run(scale, directory):
    offset = directory / "offset"
    program = ["tests.torture.clock_child", str(offset)]
    statuses, kept = [], 0
    offset.write_text("0")
    with run_api(directory / "data", program=program) as api:
        for jump_s in JUMPS_S:
            offset.write_text(str(jump_s))
            statuses += [api.track("x", user_id="leaves") for _ in range(10)]
            statuses += [api.track("x", user_id="stays") for _ in range(10)]
            kept += 10
        forgotten = api.post("/v1/forget", {"user_id": "leaves"})
        later = api.track("later", user_id="leaves")
        deadline_s = time.monotonic() + DELETION_TIMEOUT_S
        while api.count(user_id="leaves") > 1 and time.monotonic() < deadline_s:
            time.sleep(0.5)
        left = api.count(user_id="leaves", event="x")
        wrong = abs(api.count(user_id="stays") - kept) + abs(api.count(event="later") - 1)
        offset.write_text("-3600")
        unexpected = api.count_unexpected()
    with run_api(directory / "data", program=program) as api:
        wrong += abs(api.count(user_id="stays") - kept)
        wrong += api.track("again") != 202
    refused = sum(status != 202 for status in [*statuses, later]) + (forgotten != 200)
    return [
        none("requests refused while the clock jumps an hour ahead and back", refused),
        none("events of a deleted user left after the clock jumped", left),
        none("events lost or doubled after the clock jumped, and after a restart", wrong),
        none("unexpected errors while the clock jumps", unexpected),
    ]
