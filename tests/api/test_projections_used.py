"""Questions read projections, not all rows; and every core of the machine."""

import asyncio
import os
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
NAMED_QUESTIONS = {
    "revenue": stats(event="signup", metric="sum", property="cents"),
    "of last touches": stats(event="signup", attribution="last_touch"),
}


@pytest.mark.parametrize(("params", "projection"), QUESTIONS.values(), ids=QUESTIONS)
async def test_a_question_reads_its_projection(api, params, projection):
    days = [(START + timedelta(days=day)).isoformat() for day in range(10)]
    for day in days:
        answer = await api.post("/v1/track", {"event": "signup", "timestamp": day})
        assert answer.status_code == 202

    await api.store.flush()

    assert f"ReadFromMergeTree ({projection})" in await explain(api, params)


@pytest.mark.parametrize("params", NAMED_QUESTIONS.values(), ids=NAMED_QUESTIONS)
async def test_a_question_about_a_named_event_reads_no_page_views(api, params):
    day = START.isoformat()
    views = [{"event": "$pageview", "timestamp": day} for _ in range(1000)]
    for events in [*([views] * 10), [{"event": "signup", "timestamp": day}]]:
        answer = await api.post("/v1/batch", {"events": events})
        assert answer.status_code == 202
    await api.store.flush()

    assert "ReadFromMergeTree (by_name)" in await explain(api, params)


async def explain(api, params):
    """Return the engine's plan of a question, with all parts merged."""

    def work(client):
        client.command("OPTIMIZE TABLE events FINAL")
        [[project_id]] = client.query("SELECT any(project_id) FROM events").result_rows
        statement = compose(project_id, params)
        rows = client.query(f"EXPLAIN {statement.text}", parameters=statement.values).result_rows
        return "\n".join(row[0] for row in rows)

    return await asyncio.to_thread(api.store.pool.run, work)


async def test_a_large_read_uses_two_threads_with_the_least_memory(api):
    statement = "EXPLAIN PIPELINE SELECT sum(number) FROM numbers_mt(100000000)"

    [[threads]], plan = await asyncio.to_thread(
        lambda: (
            api.store.pool.query("SELECT getSetting('max_threads')"),
            api.store.pool.query(f"{statement} SETTINGS max_threads = 2"),
        )
    )

    assert threads == os.cpu_count()
    assert any("× 2" in line for [line] in plan)
