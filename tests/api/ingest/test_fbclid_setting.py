"""MILLIMETRIC_FBCLID: what an fbclid without a paid utm_medium counts as."""

import pytest

from millimetric_mcp.contract.attribution import FbclidMeaning
from millimetric_mcp.settings import ApiSettings

VISIT = {
    "event": "visit",
    "url": "https://shop.example/?fbclid=1",
    "referrer": "https://l.facebook.com/",
}


@pytest.fixture(params=list(FbclidMeaning))
def api_settings(request):
    return ApiSettings(rate_limits=None, fbclid=request.param)


async def test_events_are_classified_by_the_setting_on_track_and_batch(quick_api, api_settings):
    await quick_api.post("/v1/track", VISIT)
    await quick_api.post("/v1/batch", {"events": [VISIT, VISIT]})

    found = [(event.source, event.medium) for event in quick_api.store.events]
    assert found == [("facebook", api_settings.fbclid.value)] * 3


async def test_a_paid_utm_medium_is_paid_with_either_setting(quick_api):
    await quick_api.post("/v1/track", VISIT | {"url": f"{VISIT['url']}&utm_medium=cpc"})

    [event] = quick_api.store.events
    assert (event.medium, event.source_rule_id) == ("paid", "fb_ad_redirect")
