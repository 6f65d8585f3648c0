"""``GET /``: the page on the project's data, and the files that it loads."""

import re
from importlib import resources

import pytest

from millimetric_mcp.contract.endpoints import PAGE_FILES, PAGE_FILES_PATH, PAGE_PATH

MAX_BYTES = 150_000
PATHS = (PAGE_PATH, *(PAGE_FILES_PATH + name for name in PAGE_FILES))
DIRECTIVES = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
}


@pytest.mark.parametrize("path", PATHS)
async def test_a_file_of_the_page_is_served_without_a_key_under_a_strict_policy(quick_api, path):
    answer = await quick_api.http.get(path)

    assert answer.status_code == 200
    assert set(answer.headers["content-security-policy"].split("; ")) == DIRECTIVES
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page/page.css", "text/css; charset=utf-8"),
        ("/page/page.js", "text/javascript; charset=utf-8"),
    ],
)
async def test_a_file_of_the_page_has_its_media_type(quick_api, path, media_type):
    assert (await quick_api.http.get(path)).headers["content-type"] == media_type


@pytest.mark.parametrize("path", PATHS)
async def test_a_file_of_the_page_is_not_sent_again_when_its_etag_is_known(quick_api, path):
    etag = (await quick_api.http.get(path)).headers["etag"]

    answer = await quick_api.http.get(path, headers={"If-None-Match": etag})

    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert answer.headers["content-security-policy"]


async def test_the_page_is_no_larger_than_150_kb_in_all(quick_api):
    files = [
        await quick_api.http.get(path, headers={"Accept-Encoding": "identity"}) for path in PATHS
    ]

    assert sum(len(file.content) for file in files) <= MAX_BYTES


async def test_the_page_has_no_inline_script_style_or_handler(quick_api):
    html = (await quick_api.http.get(PAGE_PATH)).text

    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)
    assert re.findall(r"<script[^>]*>(.*?)</script>", html) == [""]


async def test_the_page_loads_nothing_from_elsewhere(quick_api):
    html = (await quick_api.http.get(PAGE_PATH)).text
    loaded = set(re.findall(r'(?:src|href)="([^#"][^"]*)"', html))
    served = {path.removeprefix("/") for path in PATHS} | {"data:,"}

    assert loaded <= served


async def test_the_modules_import_only_files_that_are_served(quick_api):
    for name in PAGE_FILES:
        text = (await quick_api.http.get(PAGE_FILES_PATH + name)).text
        assert set(re.findall(r'from "\./([^"]+)"', text)) <= set(PAGE_FILES)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


async def test_the_modules_are_loaded_at_once_and_not_one_after_the_other(quick_api):
    html = (await quick_api.http.get(PAGE_PATH)).text
    preloaded = re.findall(r'rel="modulepreload" href="page/([^"]+)"', html)

    assert {*preloaded, "page.js", "page.css"} == set(PAGE_FILES)


async def test_every_file_in_the_folder_is_served():
    folder = resources.files("millimetric_mcp.api.page")
    files = {file.name for file in folder.iterdir() if not file.name.startswith("__")}

    assert files == {"a.js", "index.html", *PAGE_FILES}


async def test_another_path_below_the_page_is_not_found(quick_api):
    answer = await quick_api.http.get(f"{PAGE_FILES_PATH}__init__.py")

    assert (answer.status_code, answer.json()) == (404, {"error": "not_found"})
