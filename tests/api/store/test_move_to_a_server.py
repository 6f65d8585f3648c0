"""The commands of docs/scale.md that move an embedded store's events to a server."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from millimetric_mcp.api.store import ClientPool, migrate

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[3] / "docs" / "scale.md").read_text()
EVENTS = 50
FILL = f"""
import asyncio, sys
from pathlib import Path
from millimetric_mcp.api.store import embedded_target, open_event_store
from millimetric_mcp.contract.columns import StoredEvent

texts = dict.fromkeys(StoredEvent._fields, "")
given = {{"project_id": 7, "timestamp_ms": 1_779_000_000_001, "ip_hash": bytes(16), "is_bot": 0}}
events = [
    StoredEvent(**{{**texts, **given, "anonymous_id": f"visitor {{n % 9}}", "url": "https://ü/'\\t"}})
    for n in range({EVENTS})
]
directory = Path(sys.argv[1], "store")
directory.mkdir(parents=True)
store = open_event_store(embedded_target(directory), max_queued_events=1000)

async def fill():
    store.start()
    await store.append(events)
    await store.close()

asyncio.run(fill())
"""
COUNT = "SELECT count(), uniqExact(anonymous_id), uniqExact(visitor), any(url) FROM events"


def run(*command: object, **options: object) -> None:
    done = subprocess.run(
        list(map(str, command)), check=False, capture_output=True, text=True, timeout=120, **options
    )
    assert done.returncode == 0, done.stderr


def test_the_commands_move_every_event(front, open_query, tmp_path):
    [block] = re.findall(r"### Move existing events.*?```sh\n(.*?)```", PAGE, re.S)
    data_dir = tmp_path / "data"
    run(sys.executable, "-c", FILL, data_dir)
    target = front.target("millimetric")
    pool = ClientPool(target)
    migrate(pool)
    pool.close()
    login = f"machine 127.0.0.1 login {front.user} password {front.password}\n"
    (tmp_path / ".netrc").write_text(login)
    places = {"DATA_DIR": str(data_dir), "ch.example:8123": f"127.0.0.1:{front.port}"}
    for name, place in places.items():
        assert name in block
        block = block.replace(name, place)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    run("sh", "-ec", block, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path), "PATH": path})

    query = open_query(target)
    assert query(COUNT) == [(EVENTS, 9, 9, "https://ü/'\t")]
    query.command("DROP DATABASE millimetric")
