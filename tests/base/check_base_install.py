"""Check an installation without extras. scripts/test-package runs it with that Python."""

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from millimetric_mcp.mcp.tools import TOOLS

ABSENT = ("chdb", "clickhouse_connect", "sqlalchemy", "pandas", "ua_parser")


def main(command: str) -> int:
    present = [name for name in ABSENT if find_spec(name)]
    check("no module of the extra is installed", [], present)
    check("every tool is listed", [tool.name for tool in TOOLS], list_tools(command))
    for name in ("api", "demo", "keys", "projects", "migrate", "classify"):
        arguments = {
            "keys": ["list"],
            "projects": ["list"],
            "classify": ["https://shop.example/"],
        }.get(name, [])
        run = subprocess.run(
            [command, name, *arguments], capture_output=True, check=False, text=True, timeout=60
        )
        check(f"{name} exits with 2", 2, run.returncode)
        check(f"{name} names the extra", True, "[api]" in run.stderr)
        check(f"{name} prints one line", 1, len(run.stderr.splitlines()))
    return 0


def list_tools(command: str) -> list[str]:
    server = subprocess.Popen([command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    client = {"name": "check", "version": "1"}
    start = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
    call(server, 1, "initialize", start)
    send(server, {"method": "notifications/initialized"})
    listed = call(server, 2, "tools/list", {})
    assert server.stdin is not None
    server.stdin.close()
    check("the server stops when its input ends", 0, server.wait(10))
    return [tool["name"] for tool in listed["tools"]]


def call(server: "subprocess.Popen[str]", number: int, method: str, params: object) -> Any:
    send(server, {"id": number, "method": method, "params": params})
    assert server.stdout is not None
    for line in server.stdout:
        response = json.loads(line)
        if response.get("id") == number:
            return response["result"]
    raise SystemExit(f"{method}: no response")


def send(server: "subprocess.Popen[str]", message: dict[str, object]) -> None:
    assert server.stdin is not None
    server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    server.stdin.flush()


def check(what: str, expected: object, found: object) -> None:
    print(f"{'ok' if found == expected else 'FAILED'}: {what}")
    if found != expected:
        raise SystemExit(f"expected {expected!r}, found {found!r}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
