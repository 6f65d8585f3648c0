import signal
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from sqlalchemy import Row, create_engine, text

from millimetric_mcp.api.control import Control, Deletion, DeletionKind, open_control
from millimetric_mcp.contract.keys import KeyEnv, KeyKind
from millimetric_mcp.errors import StoreUnavailable

PEPPER = b"pepper for the tests"
STORE = "the event store"
NOW = datetime(2026, 5, 16, 19, 0, 0, 123457, tzinfo=UTC)
USER = "user_42 · プラ"


@pytest.fixture
def project_id(control: Control) -> int:
    return control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop").record.project_id


def log(
    control: Control,
    project_id: int,
    *,
    user: str = USER,
    later_s: float = 0,
    kind: DeletionKind = DeletionKind.USER,
    store: str = STORE,
) -> Deletion:
    asked = NOW + timedelta(seconds=later_s)
    return control.deletions.add(
        store=store,
        project_id=project_id,
        kind=kind,
        id_to_delete=user,
        cutoff=asked,
        requested_at=asked,
    )


def read_rows(dsn: str, columns: str) -> Sequence[Row]:
    engine = create_engine(dsn)
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT {columns} FROM millimetric_forgets")).all()
    engine.dispose()
    return rows


def to_us(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_a_logged_deletion_is_pending_with_times_exact_to_the_microsecond(control, project_id):
    deletion = log(control, project_id)
    assert control.deletions.list_pending() == (deletion,)
    assert deletion.cutoff == NOW


def test_a_deletion_holds_a_salted_hash_and_not_the_id(control, control_dsn, project_id):
    first = log(control, project_id)
    assert first.id_hash == sha256(first.salt + USER.encode()).digest()
    rows = read_rows(control_dsn, "*")
    assert len(rows) == 1
    assert USER not in repr(rows)


def test_no_file_of_the_database_holds_the_id_of_a_deleted_user(tmp_path):
    control = open_control(f"sqlite:///{tmp_path}/control.sqlite3", pepper=PEPPER)
    key = control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")
    log(control, key.record.project_id, user="planted-user-id")
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    control.close()
    assert b"shop" in content
    assert b"planted-user-id" not in content


def test_a_completed_deletion_keeps_its_first_time(control, control_dsn, project_id):
    deletion = log(control, project_id)
    control.deletions.complete([deletion.id], now=NOW + timedelta(seconds=3))
    control.deletions.complete([deletion.id], now=NOW + timedelta(seconds=9))
    assert control.deletions.list_pending() == ()
    [(user_hash, completed_at_us)] = read_rows(control_dsn, "user_hash, completed_at")
    assert user_hash == deletion.id_hash
    assert completed_at_us == to_us(NOW + timedelta(seconds=3))


def test_a_deletion_is_not_logged_when_its_project_is_unknown(control):
    with pytest.raises(StoreUnavailable):
        log(control, 1)


def test_a_claim_takes_the_oldest_first_and_at_most_its_limit(control, project_id):
    late, early, middle = (log(control, project_id, later_s=s) for s in (9, 1, 5))
    assert control.deletions.claim(store=STORE, now=NOW, lease_s=60, limit=2) == (early, middle)
    assert control.deletions.claim(store=STORE, now=NOW, lease_s=60, limit=2) == (late,)
    assert control.deletions.claim(store=STORE, now=NOW, lease_s=60, limit=2) == ()


def test_a_claim_takes_only_deletions_of_its_store(control, project_id):
    ours, theirs = (log(control, project_id, store=store) for store in ("ours", "theirs"))
    assert control.deletions.claim(store="ours", now=NOW, lease_s=60) == (ours,)
    assert control.deletions.claim(store="theirs", now=NOW, lease_s=60) == (theirs,)


def test_a_deletion_can_be_claimed_again_when_its_lease_ends(control, project_id):
    deletion = log(control, project_id)
    control.deletions.claim(store=STORE, now=NOW, lease_s=10)
    just_before = NOW + timedelta(seconds=9.999999)
    assert control.deletions.claim(store=STORE, now=just_before, lease_s=10) == ()
    assert control.deletions.claim(store=STORE, now=NOW + timedelta(seconds=10), lease_s=10) == (
        deletion,
    )


def test_a_renewed_claim_stays_and_a_released_one_ends_at_once(control, project_id):
    deletion = log(control, project_id)
    control.deletions.claim(store=STORE, now=NOW, lease_s=10)
    control.deletions.renew([deletion.id], now=NOW + timedelta(seconds=8), lease_s=10)
    assert control.deletions.claim(store=STORE, now=NOW + timedelta(seconds=12), lease_s=10) == ()
    control.deletions.release([deletion.id])
    assert control.deletions.claim(store=STORE, now=NOW + timedelta(seconds=12), lease_s=10) == (
        deletion,
    )


def test_a_completed_deletion_is_not_claimed(control, project_id):
    deletion = log(control, project_id)
    control.deletions.complete([deletion.id], now=NOW)
    control.deletions.release([deletion.id])
    assert control.deletions.claim(store=STORE, now=NOW, lease_s=10) == ()


def test_a_linked_deletion_is_replaced_by_the_users_and_the_visitors(control, project_id):
    linked = log(control, project_id, kind=DeletionKind.LINKED)
    control.deletions.claim(store=STORE, now=NOW, lease_s=10)

    control.deletions.replace_linked(linked, [b"1" * 32])
    control.deletions.replace_linked(linked, [b"2" * 32])  # another process, after its lease

    control.deletions.release([linked.id])
    claimed = control.deletions.claim(store=STORE, now=NOW, lease_s=10)
    assert {(one.kind, one.id_hash, one.cutoff) for one in claimed} == {
        (DeletionKind.USER, linked.id_hash, NOW),
        (DeletionKind.VISITOR, b"1" * 32, NOW),
    }


def test_each_deletion_is_claimed_by_one_process(race, control, control_dsn, project_id):
    logged = {log(control, project_id, user=f"user_{number}").id for number in range(40)}
    outputs = race("claim_deletions", control_dsn, processes=2)
    claimed = [line for output in outputs for line in output.split()]
    assert sorted(claimed) == sorted(logged)
    assert control.deletions.list_pending() == ()


def test_a_logged_deletion_is_pending_after_kill_9(start, control, control_dsn, project_id):
    racer = start("log_a_deletion_and_die", control_dsn, str(project_id))
    output, _ = racer.communicate("go\n", timeout=60)
    assert racer.returncode == -signal.SIGKILL
    (pending,) = control.deletions.list_pending()
    assert pending.id == output.split()[-1]
    assert pending.id_hash == sha256(pending.salt + b"user_42").digest()


def test_a_deletion_is_claimed_by_another_process_when_its_process_died(
    start, control, control_dsn, project_id
):
    deletion = log(control, project_id)
    racer = start("claim_a_deletion_and_die", control_dsn, "30")
    output, _ = racer.communicate("go\n", timeout=60)
    assert (racer.returncode, output.split()[-1]) == (-signal.SIGKILL, "1")
    now = datetime.now(UTC)
    assert control.deletions.claim(store=STORE, now=now, lease_s=30) == ()
    assert control.deletions.claim(store=STORE, now=now + timedelta(seconds=30), lease_s=30) == (
        deletion,
    )
