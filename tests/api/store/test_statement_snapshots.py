"""The statements that answer the read endpoints, each whole in a snapshot file.

After a wanted change: ``MILLIMETRIC_UPDATE_SNAPSHOTS=1 scripts/test -k snapshot``
"""

import os
from pathlib import Path

import pytest

from millimetric_mcp.api.store.statements import compose
from millimetric_mcp.contract.endpoints import (
    ENDPOINTS,
    FUNNEL,
    QUERY,
    RETENTION,
    SCHEMA,
    SOURCES,
    STATS,
)
from millimetric_mcp.contract.keys import Scope

SNAPSHOTS = Path(__file__).parents[2] / "snapshots" / "store"
WINDOW = {"from": "2026-05-01T09:00:00Z", "to": "2026-06-01T00:00:00Z"}
STEPS = '[{"event":"signup"},{"event":"purchase","properties.plan":"pro"}]'
QUESTIONS = {
    "sources": (SOURCES, {}),
    "sources-without-medium": (SOURCES, {"breakdown": "source"}),
    "sources-by-last-touch": (SOURCES, {"attribution": "last_touch", "event": "purchase"}),
    "stats": (STATS, {}),
    "stats-of-visitors-by-day-and-source": (
        STATS,
        {"metric": "uniques", "interval": "day", "group_by": "source,medium", "event": "signup"},
    ),
    "stats-by-hour-from-raw-rows": (STATS, {"interval": "hour", "group_by": "path"}),
    "stats-of-a-property-by-first-touch-of-the-session": (
        STATS,
        {
            "metric": "sum",
            "property": "amount",
            "group_by": "source",
            "interval": "day",
            "timezone": "Europe/Berlin",
            "attribution": "session",
            "bots": "exclude",
        },
    ),
    "query": (QUERY, {}),
    "query-after-a-cursor": (QUERY, {"after": "1778000000000.1.2.3"}),
    "query-with-all-filters": (
        QUERY,
        {
            "event": "signup",
            "source": "facebook",
            "medium": "paid",
            "country": "DE",
            "user_id": "user_42",
            "anonymous_id": "u_abc",
        },
    ),
    "funnel": (FUNNEL, {"steps": STEPS}),
    "funnel-of-page-views": (FUNNEL, {"steps": STEPS.replace("signup", "$pageview")}),
    "schema": (SCHEMA, {}),
    "retention": (RETENTION, {"event": "signup", "return": "purchase", "interval": "week"}),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_read_s_statement_equals_its_snapshot(name):
    endpoint, asked = QUESTIONS[name]
    statement = compose(7, endpoint.request.model_validate(WINDOW | asked))
    values = "".join(f"-- {key} = {value}\n" for key, value in statement.values.items())
    request = " ".join(f"{key}={value}" for key, value in (WINDOW | asked).items())
    text = f"-- GET {endpoint.path} {request}\n{values}\n{statement.text}\n"
    path = SNAPSHOTS / f"{name}.sql"
    if os.environ.get("MILLIMETRIC_UPDATE_SNAPSHOTS"):
        path.write_text(text)

    assert text == path.read_text()


def test_every_read_endpoint_has_a_snapshot():
    reads = {endpoint.path for endpoint in ENDPOINTS if endpoint.scope is Scope.READ}

    assert {endpoint.path for endpoint, _ in QUESTIONS.values()} == reads
