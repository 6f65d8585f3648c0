"""Test keys see and write test data only."""

import asyncio
from contextlib import closing

from sqlalchemy import create_engine, text

from millimetric_mcp.api.control import open_control
from millimetric_mcp.contract.keys import KeyEnv, KeyKind

PEPPER = b"a pepper for tests only"


async def test_test_events_are_seen_by_test_keys_only(api):
    write_test = api.make_key(KeyKind.SK, env=KeyEnv.TEST)
    read_test = api.make_key(KeyKind.RK, env=KeyEnv.TEST)
    await api.post("/v1/track", {"event": "tried"}, key=write_test)
    await api.post("/v1/track", {"event": "real"})

    live = await api.rows("/v1/query")
    test = (await api.get("/v1/query", key=read_test)).json()["rows"]

    assert [row["event_name"] for row in live] == ["real"]
    assert [row["event_name"] for row in test] == ["tried"]


async def test_deleting_a_test_user_leaves_the_live_one(api):
    write_test = api.make_key(KeyKind.SK, env=KeyEnv.TEST)
    for key in (write_test, None):
        await api.post("/v1/track", {"event": "x", "user_id": "u"}, key=key)

    await api.post("/v1/forget", {"user_id": "u"}, key=write_test)
    async with asyncio.timeout(60):
        while api.control.deletions.list_pending():  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    assert len(await api.rows("/v1/query")) == 1


def test_test_keys_of_an_older_database_get_a_project_of_their_own(control_dsn):
    with closing(open_control(control_dsn, pepper=PEPPER)) as control:
        live = control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")
        test = control.create_key(kind=KeyKind.SK, env=KeyEnv.TEST, project="shop")
    with create_engine(control_dsn.replace("postgresql:", "postgresql+psycopg:")).begin() as older:
        older.execute(
            text("UPDATE millimetric_keys SET project_id = :id"), {"id": live.record.project_id}
        )
        older.execute(text("DELETE FROM millimetric_projects WHERE name = 'shop [test]'"))
        older.execute(text("DELETE FROM millimetric_schema WHERE version >= 3"))

    with closing(open_control(control_dsn, pepper=PEPPER, upgrade=True)) as control:
        found = control.find_keys([live.key.prefix, test.key.prefix])
        listed = {key.prefix: key.project for key in control.list_keys()}

    assert found[live.key.prefix].project_id == live.record.project_id
    assert found[test.key.prefix].project_id != live.record.project_id
    assert listed == {live.key.prefix: "shop", test.key.prefix: "shop"}
