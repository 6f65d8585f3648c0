"""Every ``curl`` of the docs that sends or asks, run as it stands against a real API."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"```sh\n(.*?)```", re.S)
COMMANDS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in ("send-events", "ask", "start", "privacy")
    for number, block in enumerate(BLOCK.findall((DOCS / f"{page}.md").read_text()))
    if "curl" in block and "export" not in block and "part-" not in block
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_curl_command_succeeds(shared_api, command):
    keys = {name: shared_api.keys[name] for name in ("MILLIMETRIC_KEY", "MILLIMETRIC_RK")}

    done = subprocess.run(
        ["sh", "-euc", command.replace("curl ", "curl --silent --show-error --fail-with-body ")],
        env=os.environ | keys | {"MILLIMETRIC_HOST": shared_api.url},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"ok":true' in done.stdout or '"rows":' in done.stdout
