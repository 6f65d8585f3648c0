"""What an environment and an upstream could slip in: proxies, netrc, redirects, other URLs."""

import asyncio
import json
import logging
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from millimetric_mcp.errors import NextStep, SettingsError, UpstreamError
from millimetric_mcp.settings import ServeSettings, read_settings

READ = 4
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
PASSWORD = "planted-password"


@pytest.fixture
def call(all_calls):
    return all_calls[READ]


@pytest.fixture
def peer(call):
    body = json.dumps(call.answer).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"

    async def respond(_reader, writer):
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return respond


@pytest.fixture
def netrc(tmp_path, monkeypatch):
    """Credentials that other tools may have left for every machine."""
    file = tmp_path / "netrc"
    file.write_text(f"default login planted password {PASSWORD}\n")
    monkeypatch.setenv("NETRC", str(file))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(file.read_text())


def authorizations(request):
    lines = [line for line in request.lower().split(b"\r\n") if b"authorization" in line]
    return [line.partition(b":")[2].strip() for line in lines]


@pytest.mark.usefixtures("netrc")
async def test_netrc_adds_no_credentials(call, peer, connect, listen, monkeypatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with listen(peer) as upstream:
        async with connect(api_url=upstream.url) as client:
            await call.run(client)
        monkeypatch.setenv("http_proxy", upstream.url)
        async with connect(api_url="http://api.example.test") as client:
            await call.run(client)
    assert [len(authorizations(request)) for request in upstream.requests] == [1, 1]
    assert all(authorizations(r)[0].startswith(b"bearer rk_live_") for r in upstream.requests)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost.", "127.1", "127.0.0.2"])
async def test_this_machine_is_never_called_through_a_proxy(
    host, call, peer, connect, listen, monkeypatch
):
    async with listen(peer) as upstream, listen(peer) as proxy:
        for name in PROXIES:
            monkeypatch.setenv(name, proxy.url)
        url = upstream.url.replace("127.0.0.1", host)
        async with connect(api_url=url) as client:
            if host in {
                "127.0.0.2",
                "localhost.",
            }:  # an API may answer or not, but no proxy is asked
                with suppress(UpstreamError):
                    await call.run(client)
            else:
                await call.run(client)
    assert proxy.requests == []


async def test_a_call_in_process_stays_in_the_process(call, peer, connect, listen, monkeypatch):
    async def app(_scope, _receive, send):
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(call.answer).encode()})

    async with listen(peer) as proxy:
        for name in PROXIES:
            monkeypatch.setenv(name, proxy.url)
        transport = httpx.ASGITransport(app)
        async with connect(api_url="http://in-process", transport=transport) as client:
            await call.run(client)
    assert proxy.requests == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", f"socks4://user:{PASSWORD}@127.0.0.1:9"),
        ("all_proxy", f"ftp://user:{PASSWORD}@127.0.0.1:9"),
        ("HTTP_PROXY", f"http://user:{PASSWORD}@127.0.0.1:port"),
        ("HTTP_PROXY", f"http://user:{PASSWORD}@127.0.0.1:99999"),
        ("https_proxy", "127.0.0.1:65536"),
        ("SSLKEYLOGFILE", "/nonexistent/keys.log"),
        ("NO_PROXY", "localhost,[::1]"),
        ("no_proxy", "fe80::/10"),
        ("SSL_CERT_FILE", "/nonexistent/certificates.pem"),
        ("SSL_CERT_FILE", "/"),
        ("SSL_CERT_FILE", __file__),
    ],
)
async def test_an_unusable_variable_is_named_and_nothing_is_sent(
    variable, value, all_calls, connect, monkeypatch
):
    for name in (*PROXIES, "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv(variable, value)
    async with connect(api_url="http://api.example.test") as client:
        for call in all_calls:
            with pytest.raises(UpstreamError) as caught:
                await call.run(client)
            assert caught.value.next_step is NextStep.CONFIGURE
            assert str(caught.value).startswith("Nothing was sent: ")
            assert f"Correct or remove {variable}." in str(caught.value)
            assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_a_socks_proxy_from_the_environment_is_used(
    scheme, call, peer, connect, listen, monkeypatch
):
    wanted = []

    async def forward(reader, writer):
        """A SOCKS 5 proxy (RFC 1928) that needs no password, and answers for every host."""
        _version, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        _version, _connect, _reserved, kind, length = await reader.readexactly(5)
        wanted.append((kind, (await reader.readexactly(length + 2))[:-2]))
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        await reader.readuntil(b"\r\n\r\n")
        await peer(reader, writer)
        writer.close()

    for name in (*PROXIES, "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    async with server:
        monkeypatch.setenv(
            "ALL_PROXY", f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        )
        async with connect(api_url="http://api.example.test") as client:
            await call.run(client)
    assert wanted == [(3, b"api.example.test")]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status, all_calls, peer, connect, listen):
    async with listen(peer) as elsewhere:

        async def redirect(_reader, writer):
            head = f"HTTP/1.1 {status} Go\r\nlocation: {elsewhere.url}/v1/stats\r\n"
            writer.write(head.encode() + b"content-length: 0\r\n\r\n")
            await writer.drain()

        async with listen(redirect) as upstream, connect(api_url=upstream.url) as client:
            for call in all_calls:
                with pytest.raises(UpstreamError, match="redirect"):
                    await call.run(client)
    assert len(upstream.requests) == len(all_calls)
    assert elsewhere.requests == []


async def test_a_compressed_response_is_not_unpacked(call, connect):
    read = 0

    async def endless():
        nonlocal read
        while True:
            read += 1
            yield b"\x1f\x8b" + b"\x00" * 1000

    def handler(_request):
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        return httpx.Response(200, headers=headers, content=endless())

    async with connect(handler) as client:
        with pytest.raises(UpstreamError, match="compressed"):
            await call.run(client)
    assert read <= 1


@asynccontextmanager
async def listen_on_ipv6(peer):
    heads = []

    async def handle(reader, writer):
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await peer(reader, writer)
        writer.close()

    try:
        server = await asyncio.start_server(handle, "::1", 0)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    async with server:
        yield f"http://[::1]:{server.sockets[0].getsockname()[1]}", heads


@pytest.mark.parametrize("path", ["", "/", "/metrics", "/metrics/"])
async def test_an_ipv6_url_with_any_path_reaches_the_api(path, call, peer, connect, monkeypatch):
    for name in PROXIES:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with listen_on_ipv6(peer) as (url, heads), connect(api_url=url + path) as client:
        await call.run(client)
    assert heads[0].startswith(f"GET {path.rstrip('/')}/v1/sources?".encode())


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{PASSWORD}@api.example.test",
        f"http://:{PASSWORD}@[::1]:8787/",
        f"http://{PASSWORD}@localhost:8787",
    ],
)
def test_credentials_in_the_api_s_url_are_refused_and_not_shown(url):
    with pytest.raises(SettingsError, match="MILLIMETRIC_HOST") as caught:
        read_settings(ServeSettings, environ={"MILLIMETRIC_HOST": url}, options={})
    assert PASSWORD not in str(caught.value)


async def test_credentials_in_an_unchecked_url_are_not_shown(call, peer, connect, listen, caplog):
    caplog.set_level(logging.WARNING)
    async with listen(peer) as upstream:
        pass
    url = upstream.url.replace("http://", f"http://user:{PASSWORD}@")
    async with connect(api_url=url) as client:
        with pytest.raises(UpstreamError) as caught:
            await call.run(client)
    assert upstream.url in str(caught.value)
    assert PASSWORD not in str(caught.value) + caplog.text


@pytest.mark.parametrize("url", [" {}", "{}\n", "{}\r", "{}\t", "{} "])
def test_white_space_around_the_api_s_url_is_refused(url):
    environ = {"MILLIMETRIC_HOST": url.format("http://127.0.0.1:8787")}
    with pytest.raises(SettingsError, match=r"MILLIMETRIC_HOST: .*white space"):
        read_settings(ServeSettings, environ=environ, options={})


def test_a_port_of_the_api_s_url_that_can_t_exist_is_refused():
    environ = {"MILLIMETRIC_HOST": "http://127.0.0.1:99999"}
    with pytest.raises(SettingsError, match=r"MILLIMETRIC_HOST: Use a port up to 65535"):
        read_settings(ServeSettings, environ=environ, options={})
