"""Whole days are answered from the aggregates of each day, not from raw rows."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from millimetric_mcp.api.store.statements import compose
from millimetric_mcp.contract.reads import SourcesParams, StatsParams

END = datetime(2026, 5, 16, 12, tzinfo=UTC)
START = END - timedelta(days=10)
WINDOW = {"from": START.isoformat(), "to": END.isoformat()}


def stats(**params):
    return StatsParams.model_validate(WINDOW | params)


QUESTIONS = {
    "sources": (SourcesParams.model_validate(WINDOW), "daily_sources"),
    "daily by source": (stats(group_by="source", interval="day"), "daily_sources"),
    "of one event by source": (stats(group_by="source", event="signup"), "daily_event_sources"),
    "uniques by event and medium": (
        stats(group_by="event_name,medium", metric="uniques"),
        "daily_event_sources",
    ),
    "of people by rule": (stats(group_by="source_rule_id", bots="exclude"), "daily_sources"),
    "by event and country": (stats(group_by="event_name,country"), "daily_event_countries"),
}


@pytest.mark.parametrize(("params", "projection"), QUESTIONS.values(), ids=QUESTIONS)
async def test_whole_days_are_read_from_a_projection(api, params, projection):
    days = [(START + timedelta(days=day)).isoformat() for day in range(10)]
    for day in days:
        answer = await api.post("/v1/track", {"event": "signup", "timestamp": day})
        assert answer.status_code == 202

    def explain(client):
        client.command("OPTIMIZE TABLE events FINAL")
        [[project_id]] = client.query("SELECT any(project_id) FROM events").result_rows
        statement = compose(project_id, params)
        rows = client.query(f"EXPLAIN {statement.text}", parameters=statement.values).result_rows
        return "\n".join(row[0] for row in rows)

    await api.store.flush()
    plan = await asyncio.to_thread(api.store.pool.run, explain)

    assert f"ReadFromMergeTree ({projection})" in plan
