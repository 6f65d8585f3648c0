"""Visitors by page and day, asked four times at once in a small memory: a separate process,
since a process has one engine and its bounds.

    python heavy_reads.py DIRECTORY

Prints the number of rows of each answer, or the error's type.
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from millimetric_mcp.api.store import ClientPool, embedded_target, open_event_store
from millimetric_mcp.contract.reads import StatsParams

MEMORY_MB = 256
AT_ONCE = 4
FILL = """
INSERT INTO events (project_id, timestamp, anonymous_id, path)
SELECT 1, toDateTime64('2026-05-01 00:00:00', 3, 'UTC') + number % 864000,
       toString(cityHash64(number)), concat('/page/', toString(number % 130000))
FROM numbers(260000)
"""
VISITORS_BY_PAGE = StatsParams.model_validate(
    {
        "from": "2026-05-01T00:00:00Z",
        "to": "2026-06-01T00:00:00Z",
        "metric": "uniques",
        "group_by": "path",
        "interval": "day",
        "limit": "1000",
    }
)


async def main(directory: Path) -> None:
    target = replace(embedded_target(directory), memory_mb=MEMORY_MB)
    store = open_event_store(target, max_queued_events=1000)
    pool = ClientPool(target)
    await asyncio.to_thread(pool.run, lambda client: client.command(FILL))
    answers = await asyncio.gather(
        *(store.read(1, VISITORS_BY_PAGE) for _ in range(AT_ONCE)), return_exceptions=True
    )
    for answer in answers:
        line = type(answer).__name__ if isinstance(answer, BaseException) else len(answer["rows"])
        sys.stdout.write(f"{line}\n")
    await store.close()
    pool.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
