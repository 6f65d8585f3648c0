import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from sqlalchemy import create_engine, inspect, text

from millimetric_mcp.api.control import Control, DeletionKind, NewKey, Revocation, open_control
from millimetric_mcp.api.control.database import Retention
from millimetric_mcp.contract.attribution import FbclidMeaning
from millimetric_mcp.contract.keys import KeyEnv, KeyKind, parse_api_key

PEPPER = b"pepper for the tests"


def create(control: Control, kind: str = "sk", **changed) -> NewKey:
    options = {"kind": KeyKind(kind), "env": KeyEnv.LIVE, "project": "shop"} | changed
    return control.create_key(**options)


def read_all_rows(dsn: str) -> str:
    engine = create_engine(dsn)
    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        rows = [connection.execute(text(f"SELECT * FROM {table}")).all() for table in tables]
    engine.dispose()
    assert tables
    return repr(rows)


def test_a_new_key_is_found_by_its_prefix(control):
    new = create(control, "pk", env=KeyEnv.TEST, origins=["https://shop.example"])
    found = control.find_keys([new.key.prefix])[new.key.prefix]
    assert found == new.record
    assert (found.kind, found.env, found.project) == (KeyKind.PK, KeyEnv.TEST, "shop")
    assert found.origins == {"https://shop.example"}


def test_a_new_key_has_the_form_of_the_contract(control):
    new = create(control)
    assert parse_api_key(new.key.reveal()) == new.key
    assert len(new.key.secret) >= 32


def test_only_the_hash_of_secret_and_pepper_is_stored(control, control_dsn):
    new = create(control)
    hashed = sha256(new.key.secret.encode() + PEPPER).digest()
    assert control.find_keys([new.key.prefix])[new.key.prefix].secret_hash == hashed
    rows = read_all_rows(control_dsn)
    assert new.key.prefix in rows
    assert new.key.secret not in rows


def test_no_file_of_the_database_holds_a_secret(tmp_path):
    control = open_control(f"sqlite:///{tmp_path}/control.sqlite3", pepper=PEPPER)
    new = create(control)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    control.close()
    assert any(new.key.prefix.encode() in content for content in files.values())
    assert not any(new.key.secret.encode() in content for content in files.values())
    assert not any(PEPPER in content for content in files.values())


def test_the_repr_of_a_new_key_hides_its_secret(control):
    new = create(control)
    assert new.key.secret not in repr(new)
    assert repr(new.record.secret_hash) not in repr(new)


def test_a_prefix_is_chosen_again_when_it_is_taken(control, monkeypatch):
    drawn = iter("aaaaaaaa" + "aaaaaaaa" + "bbbbbbbb")
    monkeypatch.setattr("secrets.choice", lambda _: next(drawn))
    assert [create(control).key.prefix for _ in range(2)] == ["aaaaaaaa", "bbbbbbbb"]


def test_keys_of_one_project_share_its_id_and_other_projects_have_others(control):
    first, second, other = create(control), create(control, "rk"), create(control, project="blog")
    assert first.record.project_id == second.record.project_id
    assert first.record.project_id != other.record.project_id
    assert 0 < other.record.project_id < 2**53


def test_a_revoked_key_is_not_found(control):
    kept, revoked = create(control), create(control)
    assert control.revoke_key(revoked.key.prefix) is Revocation.REVOKED
    found = control.find_keys([kept.key.prefix, revoked.key.prefix])
    assert found == {kept.key.prefix: kept.record}


def test_revoking_twice_keeps_the_first_time(control_dsn):
    times = iter(datetime(2026, 5, 16, hour, tzinfo=UTC) for hour in range(24))
    control = open_control(control_dsn, pepper=PEPPER, clock=lambda: next(times))
    prefix = create(control).key.prefix
    control.revoke_key(prefix)
    first = control.list_keys()[0].revoked_at
    assert control.revoke_key(prefix) is Revocation.ALREADY_REVOKED
    assert control.list_keys()[0].revoked_at == first
    control.close()


def test_an_unknown_prefix_is_neither_found_nor_revoked(control):
    create(control)
    assert control.find_keys(["aaaaaaaa"]) == {}
    assert control.revoke_key("aaaaaaaa") is Revocation.UNKNOWN


def test_every_key_is_listed_by_project_and_age(control):
    shop = [create(control), create(control, "pk", origins=["https://b.example"])]
    blog = [create(control, "rk", project="blog") for _ in range(4)]
    control.projects.change("blog", retention_days=30)
    control.revoke_key(shop[0].key.prefix)
    listed = control.list_keys()
    assert [key.prefix for key in listed] == [new.key.prefix for new in (*blog, *shop)]
    assert [key.retention_days for key in listed] == [30] * 4 + [None] * 2
    assert [key.revoked_at is None for key in listed] == [True] * 4 + [False, True]
    assert listed[-1].origins == ("https://b.example",)
    assert abs((datetime.now(UTC) - listed[0].created_at).total_seconds()) < 60


def test_retention_belongs_to_the_project_and_stays_until_it_is_set_again(control):
    shop = create(control).record.project_id
    blog = create(control, project="blog").record.project_id
    control.projects.change("shop", retention_days=90)
    create(control)
    assert control.list_retentions() == (Retention(shop, "shop", 90, is_own=True),)
    assert set(control.list_retentions(default_days=7)) == {
        Retention(shop, "shop", 90, is_own=True),
        Retention(blog, "blog", 7, is_own=False),
    }
    control.projects.change("shop", retention_days=None)
    assert control.list_retentions() == ()
    assert {key.retention_days for key in control.list_keys()} == {None}


def test_a_first_start_creates_and_shows_one_key_of_each_kind(control):
    shown: list[NewKey] = []
    made = control.create_first_keys(shown.extend)
    assert [new.key.kind for new in made] == ["sk", "rk", "pk"]
    assert shown == list(made)
    assert {new.record.project for new in made} == {"default"}
    assert [sorted(new.record.origins) for new in made] == [
        [],
        [],
        ["http://localhost:5173", "http://localhost:8787"],
    ]
    records = {new.key.prefix: new.record for new in made}
    assert control.find_keys(records) == records


def test_first_keys_are_not_created_again_when_all_are_revoked(control):
    made = control.create_first_keys(lambda _: None)
    for new in made:
        control.revoke_key(new.key.prefix)
    assert control.create_first_keys(lambda _: None) is None


def test_first_keys_are_not_stored_when_they_can_t_be_shown(control):
    def fail(_):
        raise RuntimeError("no paper in the printer")

    with pytest.raises(RuntimeError):
        control.create_first_keys(fail)
    assert control.list_keys() == ()
    assert control.create_first_keys(lambda _: None) is not None


def test_first_keys_are_created_once_when_processes_start_together(race, control_dsn):
    made = [json.loads(output) for output in race("make_first_keys", control_dsn)]
    assert sorted(map(len, made)) == [0, 0, 0, 3]
    control = open_control(control_dsn, pepper=PEPPER)
    assert len(control.list_keys()) == 3
    control.close()


def test_processes_get_the_same_project_when_they_create_it_together(race, control_dsn):
    outputs = race("create_key", control_dsn)
    assert len({line for output in outputs for line in output.split()}) == 1
    control = open_control(control_dsn, pepper=PEPPER)
    assert len(control.list_keys()) == 20
    control.close()


def test_a_key_is_not_found_from_the_time_that_it_expires(control_dsn):
    now = datetime(2026, 5, 16, tzinfo=UTC)
    with closing(open_control(control_dsn, pepper=PEPPER, clock=lambda: now)) as control:
        new = create(control, expires_at=now + timedelta(days=1))
        now += timedelta(days=1) - timedelta(microseconds=1)
        assert control.find_keys([new.key.prefix]) == {new.key.prefix: new.record}
        now += timedelta(microseconds=1)
        assert control.find_keys([new.key.prefix]) == {}


def test_a_rotated_key_works_as_long_as_the_old_one_was_to(control_dsn):
    now = datetime(2026, 5, 16, tzinfo=UTC)
    with closing(open_control(control_dsn, pepper=PEPPER, clock=lambda: now)) as control:
        old = create(control, expires_at=now + timedelta(days=30))
        now += timedelta(days=29)
        control.rotate_key(old.key.prefix, overlap=timedelta(days=2))
        first, second = control.list_keys()
    assert first.expires_at == datetime(2026, 6, 15, tzinfo=UTC)
    assert second.expires_at == now + timedelta(days=30)


def test_the_day_of_a_keys_last_use_never_goes_back(control):
    prefix = create(control).key.prefix
    days = [datetime(2026, 5, day, tzinfo=UTC) for day in (16, 17, 15)]
    for day in days:
        control.note_use({prefix: day})
    assert control.list_keys()[0].last_used_on == days[1]


def test_a_projects_test_data_has_its_settings(control):
    create(control)
    settings = {"fbclid": FbclidMeaning.SOCIAL, "timezone": "Asia/Tokyo"}
    control.projects.change("shop", retention_days=90, **settings)
    new = create(control, env=KeyEnv.TEST)
    assert (new.record.fbclid, new.record.timezone) == (FbclidMeaning.SOCIAL, "Asia/Tokyo")
    assert control.find_keys([new.key.prefix])[new.key.prefix] == new.record
    assert {kept.days for kept in control.list_retentions()} == {90}
    control.projects.change("shop", fbclid=None)
    assert control.find_keys([new.key.prefix])[new.key.prefix].fbclid is None
    [listed] = control.projects.list_all()
    assert (listed.name, listed.keys, listed.retention_days) == ("shop", 2, 90)


def test_origins_of_a_project_replace_those_of_its_browser_keys(control):
    browser, server = create(control, "pk", origins=["https://a.example"]), create(control)
    other = create(control, "pk", project="blog", origins=["https://a.example"])
    assert control.projects.change("shop", origins=["https://b.example"])
    found = control.find_keys([new.key.prefix for new in (browser, server, other)])
    assert [sorted(record.origins) for record in found.values()].count(["https://b.example"]) == 1
    assert found[browser.key.prefix].origins == {"https://b.example"}


def test_origins_are_not_set_without_an_active_browser_key_nor_is_anything_else(control_dsn):
    now = datetime(2026, 5, 16, tzinfo=UTC)
    with closing(open_control(control_dsn, pepper=PEPPER, clock=lambda: now)) as control:
        options = {"origins": ["https://a.example"], "expires_at": now + timedelta(days=1)}
        expired = create(control, "pk", **options).key.prefix
        now += timedelta(days=1)
        control.revoke_key(create(control, "pk").key.prefix)
        create(control)

        assert not control.projects.change(
            "shop", origins=["https://b.example"], retention_days=10, timezone="Asia/Tokyo"
        )

        project = control.projects.find("shop")
        assert (project.retention_days, project.timezone, project.origins) == (None, None, ())
        [key] = [key for key in control.list_keys() if key.prefix == expired]
        assert key.origins == ("https://a.example",)


def test_a_project_has_the_origins_of_its_active_browser_keys(control):
    create(control, "pk", origins=["https://b.example", "https://a.example"])
    create(control, "pk", env=KeyEnv.TEST, origins=["http://localhost:5173", "https://a.example"])
    create(control, "pk", project="blog", origins=["https://blog.example"])
    control.revoke_key(create(control, "pk", origins=["https://old.example"]).key.prefix)

    assert {one.name: one.origins for one in control.projects.list_all()} == {
        "blog": ("https://blog.example",),
        "shop": ("http://localhost:5173", "https://a.example", "https://b.example"),
    }


def test_no_file_of_the_database_holds_a_removed_project(tmp_path):
    with closing(open_control(f"sqlite:///{tmp_path}/control.sqlite3", pepper=PEPPER)) as control:
        kept = create(control, project="kept")
        gone = [create(control, env=env, label="planted label") for env in KeyEnv]
        control.deletions.add(
            store="a",
            project_id=gone[0].record.project_id,
            kind=DeletionKind.USER,
            id_to_delete="u",
            cutoff=datetime.now(UTC),
            requested_at=datetime.now(UTC),
        )
        prefixes = control.projects.remove(control.projects.find_ids("shop"))
        content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert control.find_keys([kept.key.prefix]) == {kept.key.prefix: kept.record}
        assert [one.name for one in control.projects.list_all()] == ["kept"]
        assert control.deletions.list_pending() == ()
    assert set(prefixes) == {new.key.prefix for new in gone}
    for new in gone:
        assert new.key.prefix.encode() not in content
        assert new.record.secret_hash not in content
    assert b"planted label" not in content
    assert b"shop" not in content


def test_settings_of_projects_and_keys_are_added_to_an_older_database(control, control_dsn):
    new = create(control)
    engine = create_engine(control_dsn)
    with engine.begin() as connection:
        for table, column in (
            ("projects", "fbclid"),
            ("projects", "timezone"),
            ("keys", "label"),
            ("keys", "expires_at"),
            ("keys", "last_used_on"),
        ):
            connection.execute(text(f"ALTER TABLE millimetric_{table} DROP COLUMN {column}"))
        connection.execute(text("DELETE FROM millimetric_schema WHERE version >= 3"))
    engine.dispose()
    with closing(open_control(control_dsn, pepper=PEPPER, upgrade=True)) as upgraded:
        assert upgraded.find_keys([new.key.prefix]) == {new.key.prefix: new.record}
        upgraded.projects.change("shop", fbclid=FbclidMeaning.SOCIAL, timezone="Asia/Tokyo")
