"""``GET /metrics``: what it says, and to whom."""

import json
import re
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from millimetric_mcp.contract.keys import KeyKind
from millimetric_mcp.errors import SettingsError, StoreUnavailable
from millimetric_mcp.settings import ApiSettings, RateLimits, read_settings

TOKEN = "a token of enough characters"
DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana.json"


@pytest.fixture
def api_settings(request) -> ApiSettings:
    return ApiSettings(
        rate_limits=RateLimits(track_per_s=0.001, track_burst=2),
        metrics=True,
        metrics_token=getattr(request, "param", None),
    )


async def scrape(api, *, client: str = "127.0.0.1", **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(api.app, client=(client, 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as http:
        return await http.get("/metrics", headers=headers)


async def read_samples(api) -> dict[tuple[str, ...], float]:
    """Each sample's value, by its name and the values of its labels, the route's first."""
    answer = await scrape(api)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *dict(sorted(sample.labels.items(), reverse=True)).values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_requests_are_counted_by_route_and_code(quick_api):
    for _ in range(3):
        await quick_api.post("/v1/track", {"event": "x"})
    await quick_api.http.get("/wp-login.php")
    await quick_api.http.request("BREW", "/other")

    samples = await read_samples(quick_api)

    requests = "millimetric_http_requests_total"
    assert samples[requests, "/v1/track", "202"] == 2
    assert samples[requests, "/v1/track", "429"] == 1
    assert samples[requests, "(unknown)", "404"] == 2
    durations = "millimetric_http_request_duration_seconds"
    assert samples[f"{durations}_count", "/v1/track"] == 3
    assert samples[f"{durations}_bucket", "/v1/track", "+Inf"] == 3
    assert not {"BREW", "/wp-login.php"} & {label for sample in samples for label in sample}


async def test_the_store_is_measured(api):
    await api.post("/v1/track", {"event": "x"})
    await api.store.flush()

    samples = await read_samples(api)

    assert samples[("millimetric_store_up",)] == 1
    assert samples[("millimetric_store_events",)] == 1
    assert samples[("millimetric_write_group_events_count",)] == 1
    assert samples[("millimetric_write_group_events_sum",)] == 1
    assert samples[("millimetric_journal_bytes",)] == 0
    assert samples[("millimetric_journal_events",)] == 0
    assert samples[("millimetric_journal_handovers_total",)] == 1
    assert samples[("millimetric_journal_handed_over_events_total",)] == 1
    assert samples[("millimetric_store_parts",)] >= 1
    for name in ("store_bytes", "store_memory_bytes", "disk_free_bytes"):
        assert samples[(f"millimetric_{name}",)] > 1000
    assert samples[("process_resident_memory_bytes",)] > 1e6


async def test_deletions_that_wait_are_counted_with_their_age(quick_api):
    await quick_api.post("/v1/forget", {"user_id": "u"})
    quick_api.clock.advance(seconds=90)

    samples = await read_samples(quick_api)

    assert samples[("millimetric_deletions_pending",)] == 1
    assert samples[("millimetric_deletions_oldest_seconds",)] == 90


async def test_metrics_are_served_while_the_store_is_down(quick_api):
    quick_api.store.error = StoreUnavailable("down")

    samples = await read_samples(quick_api)

    assert samples[("millimetric_store_up",)] == 0
    assert samples[("millimetric_deletions_pending",)] == 0


async def test_no_project_is_named(quick_api):
    key = quick_api.make_key(KeyKind.SK, project="secret-client")
    await quick_api.post("/v1/track", {"event": "x"}, key=key)

    assert "secret-client" not in (await scrape(quick_api)).text


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        ("203.0.113.7", {}),
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.7"}),
        ("127.0.0.1", {"X-Real-IP": "203.0.113.7"}),
        ("127.0.0.1", {"Forwarded": "for=203.0.113.7"}),
    ],
)
async def test_other_machines_find_no_metrics_without_a_token(quick_api, client, headers):
    answer = await scrape(quick_api, client=client, **headers)

    assert (answer.status_code, answer.json()) == (404, {"error": "not_found"})


@pytest.mark.parametrize("api_settings", [TOKEN], indirect=True)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer another"}, 401),
        ({"Authorization": "Bearer ünknown"}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
    ],
)
async def test_with_a_token_every_machine_needs_it(quick_api, headers, status):
    encoded = {name: value.encode() for name, value in headers.items()}

    for client in ("127.0.0.1", "203.0.113.7"):
        assert (await scrape(quick_api, client=client, **encoded)).status_code == status


def test_several_workers_have_no_metrics():
    with pytest.raises(SettingsError, match="--metrics needs one worker"):
        read_settings(
            ApiSettings, environ={}, options={"metrics": "on", "workers": 2, "store": "x"}
        )


async def test_every_query_of_the_dashboard_names_metrics_that_exist(api):
    await api.post("/v1/track", {"event": "x"})
    names = {name for name, *_ in await read_samples(api)}

    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]

    assert len(queries) >= 10
    for query in queries:
        asked = set(re.findall(r"\b(?:millimetric|process)_\w+", query))
        assert asked, query
        assert asked <= names, query


async def test_every_metric_of_ours_is_on_the_dashboard(api):
    await api.post("/v1/track", {"event": "x"})
    names = {name for name, *_ in await read_samples(api) if name.startswith("millimetric_")}

    queries = DASHBOARD.read_text()
    # A histogram has three metrics, and a counter the time of its start.
    derived = re.compile(r"_(count|sum|created)$|^millimetric_build_info$")
    assert [
        name for name in sorted(names) if not derived.search(name) and name not in queries
    ] == []
