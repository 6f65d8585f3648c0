"""Metrics of a property's numbers, compared with plain Python."""

import math
import statistics

import pytest

NUMBERS = [19.9, 0.1, 0.2, 1_000_000.07, -5, 3, 0, 12, 12, 0.30000000000000004]
OTHERS = ["12", None, True, [1], {"n": 1}]
EXPECTED = {
    "sum": math.fsum(NUMBERS),
    "avg": math.fsum(NUMBERS) / len(NUMBERS),
    "min": -5,
    "max": 1_000_000.07,
    "median": statistics.median(NUMBERS),
    "p95": statistics.quantiles(NUMBERS, n=20, method="inclusive")[18],
}


@pytest.fixture
async def shop(api):
    """An API with an event for each value, at the top and nested, and one without any."""
    values = [*NUMBERS, *OTHERS]
    events = [
        *(
            {"event": "purchase", "properties": {"n": value, "cart": {"n": value}}}
            for value in values
        ),
        {"event": "purchase"},
        {"event": "view", "properties": {"n": "none"}},
    ]
    assert (await api.post("/v1/batch", {"events": events})).status_code == 202
    return api


@pytest.mark.parametrize("metric", EXPECTED)
@pytest.mark.parametrize("key", ["n", "cart.n"])
async def test_a_metric_of_a_property_equals_plain_python(shop, metric, key):
    asked = {"event": "purchase", "metric": metric, "property": key}

    answer = (await shop.get("/v1/stats", asked)).json()

    assert answer["rows"] == [{"value": pytest.approx(EXPECTED[metric], rel=1e-14)}]
    assert answer["skipped"] == len(OTHERS) + 1


async def test_a_group_without_numbers_has_no_average_and_a_sum_of_zero(shop):
    async def ask(metric):
        asked = {"metric": metric, "property": "n", "group_by": "event_name"}
        answer = (await shop.get("/v1/stats", asked)).json()
        return {row["event_name"]: row["value"] for row in answer["rows"]}, answer["skipped"]

    sums, skipped = await ask("sum")
    averages, _ = await ask("avg")

    assert (sums["view"], averages["view"]) == (0, None)
    assert sums["purchase"] == pytest.approx(EXPECTED["sum"])
    assert skipped == len(OTHERS) + 2
