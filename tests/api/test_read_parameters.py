"""Every parameter of every read endpoint changes the answer: none is accepted and then ignored."""

import httpx
import pytest

from millimetric_mcp.api.store.statements import compose
from millimetric_mcp.contract.endpoints import ENDPOINTS
from millimetric_mcp.contract.reads import StatsParams

PARAMETERS = [
    pytest.param(endpoint.path, field.alias or name, id=f"{endpoint.path} {field.alias or name}")
    for endpoint in ENDPOINTS
    if endpoint.method == "GET"
    for name, field in endpoint.request.model_fields.items()
]
VALUES = {
    "from": "2026-05-10T00:00:00Z",
    "to": "2026-05-10T00:00:00Z",
    "breakdown": "source",
    "metric": "uniques",
    "group_by": "source",
    "interval": "day",
    "event": "signup",
    "source": "facebook",
    "medium": "paid",
    "country": "GB",
    "user_id": "user-1",
    "anonymous_id": "visitor-1",
    "limit": 1,
}
"""For each parameter a value that must change the rows. A new parameter needs one here."""

GROUPED = {"/v1/stats": {"group_by": "event_name"}}
"""What is asked beside the parameter, so that there are several rows."""

AD = "https://shop.example/?utm_source=facebook&utm_medium=cpc"
POST = "https://shop.example/?utm_source=facebook&utm_medium=social"
EVENTS = [
    {"event": "signup", "anonymous_id": "visitor-1", "timestamp": "2026-05-05T10:00:00Z"},
    {"event": "signup", "anonymous_id": "visitor-1", "url": AD, "user_id": "user-1"},
    {"event": "purchase", "anonymous_id": "visitor-2", "url": POST, "user_id": "user-2"},
]


@pytest.fixture
async def filled_api(api):
    """An API with events that differ in every column that a parameter compares."""
    await api.post("/v1/batch", {"events": EVENTS})
    abroad = httpx.ASGITransport(api.app, client=("192.0.2.1", 40_000))
    async with httpx.AsyncClient(transport=abroad, base_url="http://api.test") as http:
        headers = {"Authorization": f"Bearer {api.keys['sk']}"}
        await http.post("/v1/track", json={"event": "signup"}, headers=headers)
    return api


@pytest.mark.parametrize(("path", "name"), PARAMETERS)
async def test_a_parameter_of_a_read_endpoint_changes_the_rows(filled_api, path, name):
    asked = {key: value for key, value in GROUPED.get(path, {}).items() if key != name}

    without = await filled_api.rows(path, asked)
    with_it = await filled_api.rows(path, asked | {name: VALUES[name]})

    assert len(without) > 1 or name == "group_by"
    assert with_it != without


async def test_filters_given_together_must_all_match(filled_api):
    assert len(await filled_api.rows("/v1/query", {"event": "signup", "source": "facebook"})) == 1
    assert await filled_api.rows("/v1/query", {"event": "purchase", "medium": "paid"}) == []


def test_a_statement_that_does_not_use_a_parameter_is_not_run():
    class MoreParams(StatsParams):
        colour: str | None = None

    window = {"from": "2026-05-01T00:00:00Z", "to": "2026-06-01T00:00:00Z"}

    with pytest.raises(TypeError, match="MoreParams does not use colour"):
        compose(1, MoreParams.model_validate(window))
