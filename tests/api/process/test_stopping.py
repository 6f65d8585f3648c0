"""The end of the server while a request is unfinished."""

import socket
import time
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.slow


def test_an_unfinished_body_does_not_delay_the_end(start_api):
    api = start_api()
    address = urlsplit(api.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as client:
        client.sendall(
            b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer " + api.keys["MILLIMETRIC_KEY"].encode() + b"\r\n"
            b'Content-Length: 100\r\n\r\n{"ev'
        )
        time.sleep(0.3)

        assert api.terminate() == 0
        answer = client.recv(65_536)

    assert b"application/json" in answer
    assert b'{"error":"upstream_failed"' in answer
    assert "Traceback" not in api.stderr()
