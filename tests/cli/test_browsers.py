"""How a browser gets a URL that holds a secret."""

import os
import subprocess
import sys

import httpx
import pytest

from millimetric_mcp.cli.browsers import open_page

URL = "http://shop.example/#code=secret"
NOBODY = 65534
READ = 'exec 3<>"/dev/tcp/127.0.0.1/$1"; printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3; cat <&3'

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems need no redirect")


def test_the_user_s_browser_is_sent_to_the_page():
    answers = []

    def browse(address):
        answers.append(httpx.get(address))
        return True

    assert open_page(URL, start_browser=browse, wait_s=10)
    [answer] = answers
    assert (answer.status_code, answer.headers["location"]) == (303, URL)
    assert answer.headers["cache-control"] == "no-store"


def test_another_path_is_refused():
    answers = []

    def browse(address):
        answers.append(httpx.get(f"{address}favicon.ico"))
        return True

    assert not open_page(URL, start_browser=browse, wait_s=0)
    assert answers[0].status_code == 403


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_gets_no_url():
    answers = []

    def browse(address):
        port = address.rstrip("/").rpartition(":")[2]
        command = ["/bin/bash", "-c", READ, "read", port]
        answers.append(
            subprocess.run(command, check=False, user=NOBODY, capture_output=True, text=True)
        )
        return True

    assert not open_page(URL, start_browser=browse, wait_s=0)
    assert answers[0].stdout.startswith("HTTP/1.0 403")
    assert "secret" not in answers[0].stdout


def test_a_browser_that_does_not_start_gets_no_url():
    assert not open_page(URL, start_browser=lambda _: False)


def test_a_browser_that_asks_nothing_has_no_url():
    assert not open_page(URL, start_browser=lambda _: True, wait_s=0.05)
