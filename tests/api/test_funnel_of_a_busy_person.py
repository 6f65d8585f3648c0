"""A funnel in which one person has very many events, for example a monitor or a kiosk."""

import json

import pytest

EVENTS = 20_000

STEPS = {
    "a named event": ["$pageview", "signup"],
    "another page view": ["$pageview", "$pageview", "signup"],
    "from a named event": ["signup", "$pageview"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("group_by", ["source", "path"])
async def test_a_funnel_counts_everybody_beside_a_person_with_very_many_events(api, name, group_by):
    one = {"anonymous_id": "monitor", "timestamp": "2026-05-10T10:00:00Z"}
    for number in range(EVENTS // 500):
        at = f"2026-05-10T{number % 24:02}:{number // 24:02}:00Z"
        pair = [one | {"event": event, "timestamp": at} for event in ("$pageview", "signup")]
        await api.post("/v1/batch", {"events": pair * 500})
    others = [
        {"event": event, "anonymous_id": f"v{number}", "timestamp": f"2026-05-10T10:00:{at:02}Z"}
        for number in range(50)
        for at, event in enumerate(("$pageview", "$pageview", "signup", "$pageview"))
    ]
    await api.post("/v1/batch", {"events": others})
    steps = json.dumps([{"event": step} for step in STEPS[name]])

    rows = await api.rows("/v1/funnel", {"steps": steps, "group_by": group_by})

    assert [row["people"] for row in rows] == [51] * len(STEPS[name])
