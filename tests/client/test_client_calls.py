"""What the client sends, with which key, and what it makes of a good answer."""

import inspect
import json
import logging
import subprocess
import sys

import httpx
import pytest
from pydantic import ValidationError

import millimetric_mcp
from millimetric_mcp import __version__
from millimetric_mcp.client.client import MillimetricClient
from millimetric_mcp.contract.endpoints import ENDPOINTS
from millimetric_mcp.contract.events import BatchRequest, IdentifyRequest, TrackEvent
from millimetric_mcp.contract.imports import ImportListRequest
from millimetric_mcp.contract.reads import Metric, StatsParams
from millimetric_mcp.errors import ApiError, KeyMissing, NextStep
from millimetric_mcp.settings import ServeSettings


class Recorder:
    """Answers every request alike and keeps what was sent."""

    def __init__(self, answer, *, status=200):
        self.requests = []
        self.bodies = []
        self._answer = {"status_code": status, "json": answer}

    async def __call__(self, request):
        self.requests.append(request)
        self.bodies.append(await request.aread())
        return httpx.Response(**self._answer)

    @property
    def request(self):
        (request,) = self.requests
        return request


def test_every_endpoint_of_the_contract_has_a_call(all_calls):
    assert {call.endpoint.path for call in all_calls} == {e.path for e in ENDPOINTS}


async def test_a_call_goes_to_its_endpoint_and_returns_its_result(call, connect):
    api = Recorder(call.answer, status=call.endpoint.status)
    async with connect(api) as client:
        result = await call.run(client)
    assert (api.request.method, api.request.url.path) == (call.endpoint.method, call.endpoint.path)
    assert isinstance(result, call.endpoint.result)
    assert result.model_dump(mode="json", by_alias=True, exclude_unset=True) == call.answer


async def test_a_call_carries_the_key_of_its_kind_and_never_the_other(call, connect):
    api = Recorder(call.answer)
    async with connect(api) as client:
        await call.run(client)
    kind = "sk" if call.is_write else "rk"
    authorization = api.request.headers["authorization"]
    assert authorization.startswith(f"Bearer {kind}_live_")
    other = ("rk" if kind == "sk" else "sk") + "_live_"
    assert other not in f"{api.request.url} {api.request.headers.raw} {api.bodies}"


@pytest.mark.parametrize("kept", ["write_key", "read_key"])
async def test_without_its_key_a_call_is_refused_by_variable_and_nothing_is_sent(
    call, kept, connect
):
    api = Recorder(call.answer)
    keys = {"write_key": None, "read_key": None, kept: f"{kept[0]}k_live_x"}
    async with connect(api, **keys) as client:
        assert (client.can_write, client.can_read) == (kept == "write_key", kept == "read_key")
        if call.is_write == (kept == "write_key"):
            await call.run(client)
            return
        with pytest.raises(KeyMissing) as caught:
            await call.run(client)
    assert caught.value.variable == ("MILLIMETRIC_KEY" if call.is_write else "MILLIMETRIC_RK")
    assert caught.value.next_step is NextStep.CONFIGURE
    assert api.requests == []


@pytest.mark.parametrize("key", ["sk live", "sk_\nlive", "sk_ключ", "sk_\x7f", "sk_\udcff"])
async def test_a_key_that_can_not_be_sent_in_a_header_is_malformed_and_never_quoted(
    key, call, connect, assert_leaks_nothing
):
    api = Recorder(call.answer)
    async with connect(api, write_key=f"PLANTED{key}", read_key=f"PLANTED{key}") as client:
        with pytest.raises(ApiError, match="does not have the form") as caught:
            await call.run(client)
    assert_leaks_nothing(caught.value)
    assert api.requests == []


async def test_reads_send_the_api_s_parameter_names_and_leave_absent_ones_out(connect):
    api = Recorder({"metric": "uniques", "rows": []})
    params = StatsParams.model_validate(
        {
            "from": "2026-05-01T00:00:00+02:00",
            "to": "2026-06-01T00:00:00Z",
            "metric": "uniques",
            "group_by": "source,medium",
            "event": "a&b=ü ",
        }
    )
    async with connect(api) as client:
        result = await client.stats(params)
    assert result.metric is Metric.UNIQUES
    assert dict(api.request.url.params) == {
        "from": "2026-04-30T22:00:00.000Z",
        "to": "2026-06-01T00:00:00.000Z",
        "metric": "uniques",
        "group_by": "source,medium",
        "event": "a&b=ü ",
        "limit": "100",
    }


async def test_writes_send_properties_as_json_objects(connect):
    api = Recorder({"ok": True})
    request = IdentifyRequest.model_validate(
        {"anonymous_id": "ä", "user_id": "u", "traits": {"n": 12345678901234567890123, "s": '"\n'}}
    )
    async with connect(api) as client:
        await client.identify(request)
    assert api.request.headers["content-type"] == "application/json"
    assert json.loads(api.bodies[0]) == {
        "anonymous_id": "ä",
        "user_id": "u",
        "traits": {"n": 12345678901234567890123, "s": '"\n'},
    }


async def test_a_batch_is_one_request_and_refuses_sizes_the_api_refuses(connect):
    api = Recorder({"ok": True, "count": 1000})
    async with connect(api) as client:
        await client.batch([TrackEvent(event="e")] * 1000)
        for size in (0, 1001):
            with pytest.raises(ValidationError):
                await client.batch([TrackEvent(event="e")] * size)
    assert len(api.requests) == 1


async def test_the_client_sends_its_name_and_asks_for_uncompressed_json(call, connect):
    api = Recorder(call.answer)
    async with connect(api) as client:
        await call.run(client)
    assert api.request.headers["user-agent"] == f"millimetric-mcp/{__version__}"
    assert api.request.headers["accept"] == "application/json"
    assert api.request.headers["accept-encoding"] == "identity"


async def test_a_path_in_the_api_s_url_is_kept(call, connect):
    api = Recorder(call.answer)
    async with connect(api, api_url="https://proxy.example.test/metrics/") as client:
        await call.run(client)
    assert api.request.url.path == f"/metrics{call.endpoint.path}"


async def test_unknown_fields_of_a_response_are_ignored(call, connect):
    answer = call.answer | {"new": 1}
    if "rows" in answer:
        answer["rows"] = [row | {"new": {"er": 1}} for row in answer["rows"]]
    async with connect(Recorder(answer)) as client:
        assert isinstance(await call.run(client), call.endpoint.result)


async def test_keys_are_in_no_log_record_and_no_repr(call, connect, listen, caplog):
    caplog.set_level(logging.DEBUG)

    async def answer(_reader, writer):
        body = json.dumps(call.answer).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await writer.drain()

    async with listen(answer) as upstream, connect(api_url=upstream.url) as client:
        await call.run(client)
        shown = f"{client!r} {[record.getMessage() for record in caplog.records]}"
    assert b"_live_" in upstream.requests[0]
    assert "httpcore" in {record.name.partition(".")[0] for record in caplog.records}
    assert "_live_" not in shown


async def test_connections_are_reused(read, connect, listen):
    body = json.dumps(read.answer).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    connections = []

    async def answer(reader, writer):
        connections.append(writer)
        while True:
            writer.write(head.encode() + b"\r\n\r\n" + body)
            await writer.drain()
            await reader.readuntil(b"\r\n\r\n")

    async with listen(answer) as upstream, connect(api_url=upstream.url) as client:
        for _ in range(3):
            await read.run(client)
    assert len(connections) == 1


async def test_a_caller_with_other_keys_shares_the_connections_but_no_key_and_no_cookie(
    read, connect, listen
):
    body = json.dumps(read.answer).encode()
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        f"set-cookie: caller=first; Path=/\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    heads = []

    async def answer(reader, writer):
        while True:
            writer.write(head.encode() + body)
            await writer.drain()
            heads.append(await reader.readuntil(b"\r\n\r\n"))

    async with listen(answer) as upstream, connect(api_url=upstream.url) as client:
        await read.run(client)
        other = client.with_keys(write_key=None, read_key="rk_live_other")
        assert (other.can_write, other.can_read) == (False, True)
        await read.run(other)
    assert len(upstream.requests) == 1
    assert b"Bearer rk_live_other\r\n" in heads[0]
    assert b"cookie" not in heads[0].lower()


async def test_closing_twice_is_harmless_and_a_later_call_opens_again(call, connect):
    api = Recorder(call.answer)
    client = connect(api)
    for _ in range(2):
        await call.run(client)
        await client.aclose()
        await client.aclose()
    assert len(api.requests) == 2


def test_importing_and_building_a_client_does_not_import_httpx():
    code = (
        "import sys; from millimetric_mcp.client.client import MillimetricClient as C;"
        "C(api_url='http://localhost', write_key=None, read_key='rk');"
        "sys.exit('httpx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


class TestProxies:
    """A proxy of the environment is used, but never for the machine itself."""

    @pytest.fixture
    def answer(self, all_calls):
        body = json.dumps(all_calls[4].answer).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"

        async def peer(_reader, writer):
            writer.write(head.encode() + b"\r\n\r\n" + body)
            await writer.drain()

        return peer

    async def test_a_loopback_api_is_called_directly(
        self, answer, all_calls, connect, listen, monkeypatch
    ):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        async with listen(answer) as upstream:
            for host in ("127.0.0.1", "localhost"):
                url = upstream.url.replace("127.0.0.1", host)
                async with connect(api_url=url, timeout_s=5) as client:
                    await all_calls[4].run(client)
        assert len(upstream.requests) == 2

    async def test_another_api_is_called_through_the_proxy(
        self, answer, all_calls, connect, listen, monkeypatch
    ):
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        async with listen(answer) as proxy:
            for name in ("HTTP_PROXY", "http_proxy"):
                monkeypatch.setenv(name, proxy.url)
            async with connect(api_url="http://api.example.test", timeout_s=5) as client:
                await all_calls[4].run(client)
        assert proxy.requests[0].startswith(b"GET http://api.example.test/v1/sources?")


def test_the_default_timeouts_are_those_of_the_settings():
    parameters = inspect.signature(MillimetricClient).parameters
    defaults = [parameters[name].default for name in ("connect_timeout_s", "timeout_s")]
    assert defaults == [ServeSettings().connect_timeout_s, ServeSettings().timeout_s]


class TestThePackage:
    """What ``import millimetric_mcp`` offers."""

    def test_all_names_of_the_package_are_sorted_and_exist(self):
        assert millimetric_mcp.__all__ == sorted(millimetric_mcp.__all__)
        assert all(hasattr(millimetric_mcp, name) for name in millimetric_mcp.__all__)

    def test_the_package_offers_the_client_and_what_its_methods_take(self):
        assert millimetric_mcp.MillimetricClient is MillimetricClient
        requests = {endpoint.request for endpoint in ENDPOINTS}
        requests -= {BatchRequest, ImportListRequest}
        assert {getattr(millimetric_mcp, kind.__name__) for kind in requests} == requests

    def test_importing_the_package_imports_neither_client_nor_pydantic(self):
        code = (
            "import sys; import millimetric_mcp;"
            "sys.exit(any(name in sys.modules for name in ('pydantic', 'httpx')))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
