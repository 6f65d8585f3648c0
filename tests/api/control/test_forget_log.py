import signal
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from sqlalchemy import create_engine, text

from millimetric_mcp.api.control import Control, Forget, open_control
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
    store: str = STORE,
) -> Forget:
    asked = NOW + timedelta(seconds=later_s)
    return control.forgets.add(
        store=store, project_id=project_id, user_id=user, cutoff=asked, requested_at=asked
    )


def test_a_logged_forget_is_pending_to_the_microsecond(control, project_id):
    forget = log(control, project_id)
    assert control.forgets.list_pending() == (forget,)
    assert forget.cutoff == NOW
    assert control.forgets.find(forget.id) == forget


def test_a_forget_holds_a_salted_hash_and_never_the_id(control, control_dsn, project_id):
    first = log(control, project_id)
    assert first.user_hash == sha256(first.salt + USER.encode()).digest()
    assert first.names(USER)
    assert not first.names("user_43")
    engine = create_engine(control_dsn)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM millimetric_forgets")).all()
    engine.dispose()
    assert len(rows) == 1
    assert USER not in repr(rows)


def test_no_file_of_the_database_holds_a_forgotten_id(tmp_path):
    control = open_control(f"sqlite:///{tmp_path}/control.sqlite3", pepper=PEPPER)
    key = control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")
    log(control, key.record.project_id, user="planted-user-id")
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    control.close()
    assert b"shop" in content
    assert b"planted-user-id" not in content


def test_a_completed_forget_is_a_receipt_with_its_first_time(control, project_id):
    forget = log(control, project_id)
    control.forgets.complete([forget.id], now=NOW + timedelta(seconds=3))
    control.forgets.complete([forget.id], now=NOW + timedelta(seconds=9))
    assert control.forgets.list_pending() == ()
    receipt = control.forgets.find(forget.id)
    assert receipt.completed_at == NOW + timedelta(seconds=3)
    assert receipt.names(USER)


def test_an_unknown_forget_is_not_found(control):
    assert control.forgets.find("0" * 32) is None


def test_a_forget_of_no_project_is_refused_as_a_failure(control):
    with pytest.raises(StoreUnavailable):
        log(control, 1)


def test_a_claim_takes_the_oldest_first_and_at_most_its_limit(control, project_id):
    late, early, middle = (log(control, project_id, later_s=s) for s in (9, 1, 5))
    assert control.forgets.claim(store=STORE, now=NOW, lease_s=60, limit=2) == (early, middle)
    assert control.forgets.claim(store=STORE, now=NOW, lease_s=60, limit=2) == (late,)
    assert control.forgets.claim(store=STORE, now=NOW, lease_s=60, limit=2) == ()


def test_a_claim_takes_only_what_was_asked_of_its_store(control, project_id):
    ours, theirs = (log(control, project_id, store=store) for store in ("ours", "theirs"))
    assert control.forgets.claim(store="ours", now=NOW, lease_s=60) == (ours,)
    assert control.forgets.claim(store="theirs", now=NOW, lease_s=60) == (theirs,)


def test_a_claim_is_free_again_when_its_lease_is_over(control, project_id):
    forget = log(control, project_id)
    control.forgets.claim(store=STORE, now=NOW, lease_s=10)
    assert (
        control.forgets.claim(store=STORE, now=NOW + timedelta(seconds=9.999999), lease_s=10) == ()
    )
    assert control.forgets.claim(store=STORE, now=NOW + timedelta(seconds=10), lease_s=10) == (
        forget,
    )


def test_a_renewed_claim_stays_and_a_released_one_is_free_at_once(control, project_id):
    forget = log(control, project_id)
    control.forgets.claim(store=STORE, now=NOW, lease_s=10)
    control.forgets.renew([forget.id], now=NOW + timedelta(seconds=8), lease_s=10)
    assert control.forgets.claim(store=STORE, now=NOW + timedelta(seconds=12), lease_s=10) == ()
    control.forgets.release([forget.id])
    assert control.forgets.claim(store=STORE, now=NOW + timedelta(seconds=12), lease_s=10) == (
        forget,
    )


def test_a_completed_forget_is_never_claimed(control, project_id):
    forget = log(control, project_id)
    control.forgets.complete([forget.id], now=NOW)
    control.forgets.release([forget.id])
    assert control.forgets.claim(store=STORE, now=NOW, lease_s=10) == ()


def test_processes_share_the_forgets_out_and_lose_none(race, control, control_dsn, project_id):
    logged = {log(control, project_id, user=f"user_{number}").id for number in range(40)}
    outputs = race("claim_forgets", control_dsn, processes=2)
    claimed = [line for output in outputs for line in output.split()]
    assert sorted(claimed) == sorted(logged)
    assert control.forgets.list_pending() == ()


def test_a_logged_forget_survives_kill_9(start, control, control_dsn, project_id):
    racer = start("log_a_forget_and_die", control_dsn, str(project_id))
    output, _ = racer.communicate("go\n", timeout=60)
    assert racer.returncode == -signal.SIGKILL
    (pending,) = control.forgets.list_pending()
    assert pending.id == output.split()[-1]
    assert pending.names("user_42")


def test_a_forget_claimed_by_a_process_that_died_is_claimed_by_another(
    start, control, control_dsn, project_id
):
    forget = log(control, project_id)
    racer = start("claim_a_forget_and_die", control_dsn, "30")
    output, _ = racer.communicate("go\n", timeout=60)
    assert (racer.returncode, output.split()[-1]) == (-signal.SIGKILL, "1")
    now = datetime.now(UTC)
    assert control.forgets.claim(store=STORE, now=now, lease_s=30) == ()
    assert control.forgets.claim(store=STORE, now=now + timedelta(seconds=30), lease_s=30) == (
        forget,
    )
