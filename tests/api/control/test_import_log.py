"""The log of imports: who writes a part, and when another process may take over."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from millimetric_mcp.api.control import Claim, PartWriter, open_control
from millimetric_mcp.contract.keys import KeyEnv, KeyKind

NOW = datetime(2026, 5, 16, 19, 30, tzinfo=UTC)
LEASE = timedelta(seconds=180)
FIRST = PartWriter("first", store="s", lease_s=180, is_alone=False)
SECOND = replace(FIRST, id="second")


@pytest.fixture
def control(control_dsn):
    control = open_control(control_dsn, pepper=b"a pepper for tests only")
    yield control
    control.close()


@pytest.fixture
def project_id(control):
    new = control.create_key(kind=KeyKind.SK, env=KeyEnv.LIVE, project="shop")
    return new.record.project_id


def claim(control, project_id, writer, *, now=NOW, chunk=0):
    return control.imports.claim(
        writer, project_id=project_id, import_id="log", chunk=chunk, now=now
    )


def test_a_part_is_one_writers_until_its_lease_ends(control, project_id):
    assert claim(control, project_id, FIRST).claim is Claim.WRITE

    soon = NOW + LEASE - timedelta(seconds=1)
    assert claim(control, project_id, SECOND, now=soon).claim is Claim.BUSY
    assert claim(control, project_id, SECOND, now=NOW + LEASE).claim is Claim.CHECK
    assert claim(control, project_id, FIRST, now=NOW + LEASE).claim is Claim.BUSY


def test_a_writer_of_a_store_of_its_own_takes_over_at_once(control, project_id):
    claim(control, project_id, replace(FIRST, is_alone=True))

    next_process = replace(SECOND, is_alone=True)
    assert claim(control, project_id, next_process).claim is Claim.CHECK


def test_a_stored_part_is_stored_for_every_writer(control, project_id):
    part = claim(control, project_id, FIRST)
    control.imports.finish(part, chunk=0, events=7)

    found = claim(control, project_id, SECOND)
    assert (found.claim, found.events, found.number) == (Claim.STORED, 7, part.number)


def test_a_released_part_is_new_again(control, project_id):
    part = claim(control, project_id, FIRST)
    control.imports.release(part, chunk=0)

    assert claim(control, project_id, SECOND).claim is Claim.WRITE


def test_another_store_has_other_imports(control, project_id):
    part = claim(control, project_id, FIRST)
    control.imports.finish(part, chunk=0, events=7)

    other = replace(FIRST, store="other")
    assert claim(control, project_id, other).claim is Claim.WRITE
    assert [one.events for one in control.imports.list("s", project_id)] == [7]
    assert [one.events for one in control.imports.list("other", project_id)] == [0]


def test_an_import_is_taken_back_only_when_no_part_is_being_written(control, project_id):
    claim(control, project_id, FIRST)
    asked = {"project_id": project_id, "import_id": "log"}

    busy = control.imports.begin_undo(SECOND, **asked, now=NOW)
    begun = control.imports.begin_undo(SECOND, **asked, now=NOW + LEASE)

    assert (busy.claim, begun.claim) == (Claim.BUSY, Claim.WRITE)
    assert claim(control, project_id, FIRST, now=NOW + LEASE, chunk=1).claim is Claim.BUSY
    control.imports.end_undo(begun.number)
    assert claim(control, project_id, FIRST, now=NOW + LEASE, chunk=1).claim is Claim.WRITE


def test_an_unknown_import_can_not_be_taken_back(control, project_id):
    asked = {"project_id": project_id, "import_id": "log"}

    assert control.imports.begin_undo(FIRST, **asked, now=NOW) is None
