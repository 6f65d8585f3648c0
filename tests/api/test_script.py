"""``GET /v1/a.js``: the browser script, which pages of any site load without a key."""

import gzip
from importlib import resources

import pytest

from millimetric_mcp.contract.endpoints import SCRIPT_PATH

MAX_GZIPPED_BYTES = 2560


@pytest.fixture
def script() -> bytes:
    return (resources.files("millimetric_mcp.api.page") / "a.js").read_bytes()


async def test_the_script_is_served_to_pages_of_any_site_without_a_key(quick_api, script):
    answer = await quick_api.http.get(SCRIPT_PATH)

    assert (answer.status_code, answer.content) == (200, script)
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "max-age=" in answer.headers["cache-control"]


async def test_the_script_has_one_cors_header_when_a_page_asks_with_its_origin(quick_api):
    answer = await quick_api.http.get(SCRIPT_PATH, headers={"Origin": "https://shop.example"})

    assert answer.headers.get_list("access-control-allow-origin") == ["*"]


async def test_the_script_is_compressed_within_its_size_where_the_browser_accepts_gzip(quick_api):
    async with quick_api.http.stream(
        "GET", SCRIPT_PATH, headers={"Accept-Encoding": "br, gzip"}
    ) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    plain = await quick_api.http.get(SCRIPT_PATH, headers={"Accept-Encoding": "identity"})

    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(raw) == plain.content
    assert len(raw) <= MAX_GZIPPED_BYTES


@pytest.mark.parametrize("form", ["{}", '"another", {}'])
async def test_the_script_is_not_sent_again_when_its_etag_is_known(quick_api, form):
    etag = (await quick_api.http.get(SCRIPT_PATH)).headers["etag"]

    answer = await quick_api.http.get(SCRIPT_PATH, headers={"If-None-Match": form.format(etag)})

    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert answer.headers["cache-control"]


async def test_the_script_is_sent_when_another_etag_is_known(quick_api, script):
    answer = await quick_api.http.get(SCRIPT_PATH, headers={"If-None-Match": '"another"'})

    assert (answer.status_code, answer.content) == (200, script)
