"""Keys, origins and limits over real sockets, while ``millimetric-mcp keys`` changes them."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

COMMAND = (
    sys.executable,
    "-c",
    "from millimetric_mcp.cli import main; raise SystemExit(main())",
)
EVENT = {"event": "signup", "anonymous_id": "u_abc"}
ORIGIN = "http://localhost:5173"


@dataclass(frozen=True)
class Api:
    """A running API, its data directory and the keys of its first start, by kind."""

    http: httpx.Client
    data_dir: Path
    log: Path
    first: dict[str, str]

    def keys(self, *arguments: str) -> dict[str, str]:
        command = [*COMMAND, "keys", *arguments, "--data-dir", str(self.data_dir), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return json.loads(done.stdout)

    def track(self, key: str | None, **headers: str) -> httpx.Response:
        bearer = {"Authorization": f"Bearer {key}"} if key else {}
        return self.http.post("/v1/track", json=EVENT, headers={**bearer, **headers})


@pytest.fixture(scope="module")
def api(tmp_path_factory) -> Iterator[Api]:
    directory = tmp_path_factory.mktemp("api")
    data_dir, log = directory / "data", directory / "stderr"
    options = ["--port", "0", "--data-dir", str(data_dir), "--rate-limits", "batch=0.5:2"]
    options += ["--keys-dir", str(directory / "keys")]
    with log.open("w") as stderr, (directory / "stdout").open("w") as stdout:
        process = subprocess.Popen([*COMMAND, "api", *options], stderr=stderr, stdout=stdout)
    try:
        url = wait_for(r"http://127\.0\.0\.1:\d+", log)
        text = "".join(path.read_text() for path in (directory / "keys").iterdir())
        first = re.findall(r"=((?:sk|rk|pk)_\S+)", text)
        with httpx.Client(base_url=url, trust_env=False) as http:
            wait_for_health(http)
            yield Api(http, data_dir, log, {key[:2]: key for key in first})
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for(pattern: str, path: Path) -> str:
    for _ in range(600):
        if found := re.search(pattern, path.read_text()):
            return found[0]
        time.sleep(0.05)
    raise AssertionError(path.read_text())


def wait_for_health(http: httpx.Client) -> None:
    for _ in range(600):
        try:
            if http.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("the API does not answer")


def test_the_keys_of_the_first_start_work(api):
    assert api.track(api.first["sk"]).status_code == 202
    assert api.track(api.first["pk"], Origin=ORIGIN).status_code == 202
    window = {"from": "2026-05-01T00:00:00Z", "to": "2026-06-01T00:00:00Z"}
    bearer = {"Authorization": f"Bearer {api.first['rk']}"}
    assert api.http.get("/v1/sources", params=window, headers=bearer).status_code == 200


def test_a_key_created_while_the_api_runs_works_at_once(api):
    made = api.keys("create", "--kind", "pk", "--origin", "https://shop.example")
    assert api.track(made["key"], Origin="https://shop.example").status_code == 202


def test_a_key_revoked_while_the_api_runs_is_refused_within_five_seconds(api):
    revoked, kept = (api.keys("create", "--kind", "sk", "--project", "shop") for _ in range(2))
    assert api.track(revoked["key"]).status_code == 202
    api.keys("revoke", revoked["prefix"])
    revoked_at_s = time.monotonic()
    while (answer := api.track(revoked["key"])).status_code == 202:
        assert time.monotonic() - revoked_at_s < 5
        time.sleep(0.1)
    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_api_key"})
    assert api.track(kept["key"]).status_code == 202


def test_a_key_revoked_while_a_body_arrives_is_refused(api):
    late = api.keys("create", "--kind", "sk", "--project", "shop")

    def send_slowly():
        yield b'{"event":'
        api.keys("revoke", late["prefix"])
        while api.track(late["key"]).status_code == 202:
            time.sleep(0.1)
        yield b'"late"}'

    headers = {"Authorization": f"Bearer {late['key']}", "Content-Type": "application/json"}
    answer = api.http.post("/v1/track", content=send_slowly(), headers=headers)

    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_api_key"})


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda key: None, "missing_bearer_token"),
        (lambda key: "ak" + key[2:], "malformed_api_key"),
        (lambda key: key[:-1] + ("x" if key[-1] != "x" else "y"), "invalid_api_key"),
        (lambda key: key.replace("_live_", "_test_"), "invalid_api_key"),
        (lambda key: f"sk_live_Unknown1_{'x' * 43}", "invalid_api_key"),
        (lambda key: "rk" + key[2:], "key_kind_mismatch"),
    ],
    ids=["no key", "account key", "wrong secret", "other env", "unknown", "other kind"],
)
def test_a_wrong_key_is_refused_before_the_body_is_parsed(api, change, error):
    key = change(api.first["sk"])
    bearer = {"Authorization": f"Bearer {key}"} if key else {}
    answer = api.http.post("/v1/track", content=b"{", headers=bearer)
    assert (answer.status_code, answer.json()) == (401, {"error": error})
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("kind", "path", "error"),
    [
        ("pk", "/v1/forget", "forget_requires_secret_key"),
        ("rk", "/v1/forget", "insufficient_scope"),
        ("rk", "/v1/track", "insufficient_scope"),
    ],
)
def test_a_key_is_refused_where_its_kind_is_not_allowed(api, kind, path, error):
    bearer = {"Authorization": f"Bearer {api.first[kind]}"}
    answer = api.http.post(path, json={"user_id": "user_42"}, headers=bearer)
    assert (answer.status_code, answer.json()) == (403, {"error": error})


@pytest.mark.parametrize("origin", ["http://localhost:3000", None])
def test_a_browser_key_from_another_origin_is_refused_with_that_origin(api, origin):
    answer = api.track(api.first["pk"], **{"Origin": origin} if origin else {})
    assert answer.status_code == 403
    assert answer.json() == {"error": "origin_not_allowed", "origin": origin or ""}


def test_a_limited_call_succeeds_after_the_wait_in_header_and_body(api):
    key = api.keys("create", "--kind", "sk", "--project", "limited")["key"]
    bearer = {"Authorization": f"Bearer {key}"}
    body = {"events": [EVENT]}
    codes = [api.http.post("/v1/batch", json=body, headers=bearer).status_code for _ in range(2)]
    limited = api.http.post("/v1/batch", json=body, headers=bearer)
    wait_s = limited.json()["retry_after_s"]
    assert (codes, limited.status_code) == ([202, 202], 429)
    assert limited.json() == {"error": "rate_limited", "retry_after_s": wait_s}
    assert limited.headers["Retry-After"] == str(wait_s)
    assert 1 <= wait_s <= 2
    time.sleep(wait_s)
    assert api.http.post("/v1/batch", json=body, headers=bearer).status_code == 202


def test_the_log_and_the_data_directory_hold_no_secret(api):
    made = api.keys("create", "--kind", "sk", "--project", "planted")
    api.track(made["key"])
    api.track(made["key"][:-1])
    secret = made["key"].split("_", 3)[3].encode()
    contents = [api.log.read_bytes(), *read_files(api.data_dir)]
    assert any(b"planted" in content for content in contents)
    assert not any(secret in content for content in contents)


def read_files(directory: Path) -> Iterator[bytes]:
    for path in directory.rglob("*"):
        if path.is_socket():
            continue
        with suppress(FileNotFoundError, IsADirectoryError):  # the engine moves its parts about
            yield path.read_bytes()
