"""The log as text for people."""

import re

import pytest

from millimetric_mcp.contract.keys import KeyKind
from millimetric_mcp.errors import StoreUnavailable
from millimetric_mcp.settings import ApiSettings, LogFormat


@pytest.fixture
def api_settings() -> ApiSettings:
    return ApiSettings(rate_limits=None, log_format=LogFormat.TEXT)


async def test_a_request_is_one_line_of_text_with_named_values(quick_api):
    key = quick_api.make_key(KeyKind.SK, project='two "words"')
    await quick_api.post("/v1/track", {"event": "x"}, key=key)

    [line] = quick_api.log
    assert re.fullmatch(
        r"20\d\d-\d\d-\d\dT[\d:.]+\+00:00 INFO    method=POST path=/v1/track status=202 "
        r'duration_ms=[\d.]+ project="two \\"words\\""\n',
        line,
    )


async def test_a_failed_request_is_a_line_of_level_error(quick_api):
    quick_api.store.error = StoreUnavailable("down")

    await quick_api.post("/v1/track", {"event": "x"})

    assert " ERROR   method=POST path=/v1/track status=503 " in quick_api.log[-1]
