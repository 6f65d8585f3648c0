"""How far the estimate of visitors is off, where it is worst: just above 2.5 * 2^14 of them."""

from dataclasses import replace
from math import sqrt

import pytest

from millimetric_mcp.api.store import ClientPool, migrate
from millimetric_mcp.api.store.reads import read_answer
from millimetric_mcp.api.store.statements import compose
from millimetric_mcp.contract.reads import SourcesParams, StatsParams

pytestmark = pytest.mark.slow

SETS = 20
MAY = {"from": "2026-05-01T00:00:00Z", "to": "2026-06-01T00:00:00Z"}
FILL = """
INSERT INTO events (project_id, timestamp, source, medium, anonymous_id)
WITH number % {sets:UInt64} AS set, intDiv(number, {sets:UInt64}) AS event
SELECT 1, toDateTime64('2026-05-01 00:00:00', 3, 'UTC') + (event % 20) * 86400,
       toString(set), 'referral', hex(MD5(concat(toString(set), '-', toString(intDiv(event, 2)))))
FROM numbers({visitors:UInt64} * 2 * {sets:UInt64})
"""
"""Each visitor of a set has two events, on different days."""


@pytest.fixture
def pool(engine_target):
    target = replace(engine_target, database="uniques")
    pool = ClientPool(target)
    migrate(pool)
    yield pool
    pool.run(lambda client: client.command("DROP DATABASE uniques SYNC"))
    pool.close()


@pytest.mark.parametrize("visitors", [39_000, 42_000, 47_000, 52_000])
def test_the_standard_error_of_uniques_is_about_one_percent_at_most(pool, visitors):
    bound = {"sets": SETS, "visitors": visitors}
    pool.run(lambda client: client.command(FILL, parameters=bound))
    exact = dict(pool.query("SELECT source, uniqExact(anonymous_id) FROM events GROUP BY source"))
    asked = MAY | {"metric": "uniques", "group_by": "source", "interval": "month"}

    questions = (SourcesParams.model_validate(MAY), StatsParams.model_validate(asked))
    by_source, by_month = (
        read_answer(pool, compose(1, params), params)["rows"] for params in questions
    )

    assert set(exact.values()) == {visitors}
    for found in (
        {row["source"]: row["uniques"] for row in by_source},
        {row["source"]: row["value"] for row in by_month},
    ):
        assert found.keys() == exact.keys()
        errors = [found[source] / exact[source] - 1 for source in exact]
        assert sqrt(sum(error**2 for error in errors) / SETS) < 0.0125
        assert max(map(abs, errors)) < 0.03
