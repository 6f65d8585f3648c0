"""What a request that never comes to its end does to the end of the server."""

import socket
import time
from urllib.parse import urlsplit


def test_a_stalled_body_neither_delays_the_end_nor_leaves_a_traceback(start_api):
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
    assert answer.endswith(b'{"error":"upstream_failed"}')
    assert "Traceback" not in api.stderr()
