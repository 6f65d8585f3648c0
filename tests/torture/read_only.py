"""A data directory that becomes read-only under the running API, and writable again."""

import os
from contextlib import contextmanager
from pathlib import Path

from tests.torture.harness import at_most, none, run_api

# Without these capabilities the permissions of files count for root too.
AS_OTHERS = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


@contextmanager
def read_only(directory: Path):
    paths = [Path(where) for where, _, _ in os.walk(directory)]
    modes = {path: path.stat().st_mode for path in paths}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            if path.exists():
                path.chmod(mode)


def run(scale, directory):
    wrapper = AS_OTHERS if os.geteuid() == 0 else []
    with run_api(directory / "data", wrapper=wrapper) as api:
        sent = [api.track("before") for _ in range(5)]
        api.count()
        with read_only(api.data_dir):
            refused = [api.ask("POST", "/v1/track", json={"event": "x"}) for _ in range(20)]
            unread = sum(api.read(path).status_code != 200 for path in ("/v1/sources", "/v1/query"))
            ready = api.ask("GET", "/health/ready").status_code
        after = [api.track("after") for _ in range(5)]
        acknowledged = [*sent, *after, *(answer.status_code for answer in refused)].count(202)
        missing = acknowledged - api.count()
        unexpected = api.count_unexpected()
    slowest_s = max(answer.elapsed.total_seconds() for answer in refused)
    return [
        none(
            "writes of a read-only directory with another answer than 202 or 503",
            sum(answer.status_code not in {202, 503} for answer in refused),
        ),
        at_most("slowest answer to a write of a read-only directory", slowest_s, 2, "s"),
        none("reads refused from a read-only directory", unread),
        none("answers of a read-only directory that call it ready", int(ready != 503)),
        none("writes refused after it was writable again", sum(code != 202 for code in after)),
        none("acknowledged events that are not stored, or the reverse", abs(missing)),
        none("unexpected errors of a read-only directory", unexpected),
    ]
