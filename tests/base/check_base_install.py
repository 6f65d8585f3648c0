"""Run by scripts/test-base with the Python of an environment that has no extra."""

import json
import subprocess
import sys
from importlib.util import find_spec

ABSENT = ("chdb", "clickhouse_connect", "sqlalchemy", "pandas", "ua_parser")
TOOLS = [
    "track_event",
    "identify",
    "batch",
    "forget",
    "top_sources",
    "stats",
    "raw_events",
]


def main(command: str) -> int:
    present = [name for name in ABSENT if find_spec(name)]
    check("no module of the extra is installed", [], present)
    check("the seven tools are listed", TOOLS, list_tools(command))
    for name in ("api", "demo", "keys", "migrate", "classify"):
        arguments = {"keys": ["list"], "classify": ["https://shop.example/"]}.get(name, [])
        run = subprocess.run(
            [command, name, *arguments], capture_output=True, check=False, text=True, timeout=60
        )
        check(f"{name} fails as a wrong setting does", 2, run.returncode)
        check(f"{name} names the extra", True, "pip install 'millimetric-mcp[api]'" in run.stderr)
        check(f"{name} says it in a line", 1, len(run.stderr.splitlines()))
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
    check("the server ends with its input", 0, server.wait(10))
    return [tool["name"] for tool in listed["tools"]]


def call(server: "subprocess.Popen[str]", number: int, method: str, params: object) -> dict:
    send(server, {"id": number, "method": method, "params": params})
    assert server.stdout is not None
    for line in server.stdout:
        answer = json.loads(line)
        if answer.get("id") == number:
            return answer["result"]
    raise SystemExit(f"{method}: no answer")


def send(server: "subprocess.Popen[str]", message: dict) -> None:
    assert server.stdin is not None
    server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    server.stdin.flush()


def check(what: str, expected: object, found: object) -> None:
    print(f"{'ok' if found == expected else 'FAILED'}: {what}")
    if found != expected:
        raise SystemExit(f"expected {expected!r}, found {found!r}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
