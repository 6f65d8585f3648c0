"""``millimetric-mcp import`` into an API whose store is a ClickHouse server."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

LINE = (
    '203.0.113.{} - - [16/May/2026:19:00:00 +0000] "GET /imported/{} HTTP/1.1" 200 512 '
    '"https://www.google.com/" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 '
    'Firefox/140.0"\n'
)
COUNT = 6000
"""Two parts."""


def test_an_import_is_stored_once_and_taken_back_on_a_server(deployment, wait_for_it, tmp_path):
    log = tmp_path / "access.log"
    log.write_text("".join(LINE.format(number % 250, number) for number in range(COUNT)))
    environ = {**os.environ, **deployment.keys, "MILLIMETRIC_HOST": deployment.url}

    def run(*arguments):
        command = [sys.executable, "-m", "millimetric_mcp", "import", "--json", *arguments]
        done = subprocess.run(
            command,
            check=False,
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    before = deployment.count_events()
    [first] = run(str(log), "--site", "https://shop.example")["files"]
    [second] = run(str(log), "--site", "https://shop.example")["files"]

    assert (first["stored"], first["repeated"]) == (COUNT, 0)
    assert (second["stored"], second["repeated"]) == (0, COUNT)
    assert deployment.count_events() == before + COUNT
    assert run("--undo", first["import_id"]) == {"deleted": COUNT}
    wait_for_it(lambda: deployment.count_events() == before)
