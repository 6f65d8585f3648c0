"""Several API processes over one server: one API, whichever process answers."""

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

pytestmark = pytest.mark.slow

REVOCATION_S = 5
SIGTERM_S = 15
"""Far below what a hanging server would take; a busy machine needs more than a second or two."""


@pytest.fixture
def workers(deployment):
    """The process ids of the four."""
    assert len(deployment.list_workers()) == 4
    return deployment.list_workers()


def test_first_keys_are_made_once(deployment):
    assert len(list(deployment.data_dir.with_name("keys").iterdir())) == 3
    assert len(json.loads(deployment.run_keys("list", "--json"))) == 3


def test_each_worker_writes_what_all_read(deployment, workers):
    for number, worker in enumerate(workers):
        with deployment.only(worker):
            event = {"event": "shared", "event_id": f"by-{number}"}
            assert deployment.post("/v1/track", event).status_code == 202

    for worker in workers:
        with deployment.only(worker):
            rows = deployment.rows("/v1/query", event="shared")
            assert sorted(row["event_id"] for row in rows) == ["by-0", "by-1", "by-2", "by-3"]


def test_a_deletion_requested_from_one_worker_runs_once(
    deployment, workers, module_front, wait_for_it
):
    for user in ("gone", "kept"):
        deployment.post("/v1/batch", {"events": [{"event": "erased", "user_id": user}] * 3})

    assert deployment.post("/v1/forget", {"user_id": "gone"}).status_code == 200

    wait_for_it(lambda: len(deployment.rows("/v1/query", event="erased")) == 3)
    for worker in workers:
        with deployment.only(worker):
            assert deployment.rows("/v1/query", user_id="gone") == []
    time.sleep(2.5)  # each of the others has looked for work meanwhile
    assert len(module_front.list_statements("-- Deletes", database=deployment.database)) == 1


def test_a_key_revoked_elsewhere_is_refused_by_every_worker_within_5_s(deployment, workers):
    made = json.loads(deployment.run_keys("create", "--kind", "sk", "--json"))

    def statuses():
        answers = []
        for worker in workers:
            with deployment.only(worker):
                answers.append(deployment.post("/v1/track", {"event": "x"}, key=made["key"]))
        return [answer.status_code for answer in answers]

    assert statuses() == [202] * 4
    deployment.run_keys("revoke", made["prefix"])
    time.sleep(REVOCATION_S)
    assert statuses() == [401] * 4


def test_nothing_acknowledged_is_lost_or_doubled_when_the_server_and_a_worker_die(
    deployment, workers, module_front, wait_for_it, ask_deployment
):
    acknowledged: list[str] = []
    uncertain: list[str] = []
    stopping = threading.Event()

    def write(writer: int) -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            batch = f"batch-{writer}-{number}"
            events = [{"event": "x", "session_id": batch} for _ in range(10)]
            try:
                status = deployment.post("/v1/batch", {"events": events}).status_code
            except httpx.TransportError:
                status = 0  # its worker died
            {202: acknowledged, 503: []}.get(status, uncertain).append(batch)

    def wait_for_more() -> None:
        enough = len(acknowledged) + 30
        wait_for_it(lambda: len(acknowledged) >= enough)

    with ThreadPoolExecutor(6) as executor:
        writers = [executor.submit(write, writer) for writer in range(6)]
        wait_for_more()
        module_front.stop(signal.SIGKILL)
        time.sleep(0.3)
        module_front.start()
        wait_for_more()
        os.kill(workers[0], signal.SIGKILL)
        wait_for_more()
        stopping.set()
        for writer in writers:
            writer.result()

    stored = dict(
        ask_deployment(
            "SELECT session_id, count() FROM events WHERE session_id LIKE 'batch-%' GROUP BY 1"
        )
    )
    assert set(acknowledged) <= set(stored) <= {*acknowledged, *uncertain}
    assert set(stored.values()) == {10}
    wait_for_it(lambda: len(set(deployment.list_workers()) - {workers[0]}) == 4)


def test_sigterm_ends_all_with_code_0_and_nothing_acknowledged_is_lost(
    deployment, workers, wait_for_it, ask_deployment
):
    statuses: list[int] = []

    def write() -> None:
        with suppress(httpx.TransportError):
            while True:
                events = [{"event": "x", "session_id": "last"}] * 50
                statuses.append(deployment.post("/v1/batch", {"events": events}).status_code)

    writers = [threading.Thread(target=write) for _ in range(6)]
    for writer in writers:
        writer.start()
    wait_for_it(lambda: statuses.count(202) >= 30)

    code, took_s = deployment.terminate()

    for writer in writers:
        writer.join()
    assert code == 0
    assert took_s < SIGTERM_S
    assert not any(os.path.exists(f"/proc/{worker}") for worker in workers)
    [(stored,)] = ask_deployment("SELECT count() FROM events WHERE session_id = 'last'")
    assert stored == 50 * statuses.count(202)


def test_sigterm_ends_all_with_code_0_while_the_server_hangs(start_deployment, module_front):
    deployment = start_deployment(workers=2)
    workers = deployment.list_workers()
    deployment.post("/v1/track", {"event": "x"})
    statuses: list[int] = []

    def hang() -> None:
        with suppress(httpx.TransportError):
            statuses.append(deployment.post("/v1/track", {"event": "x"}).status_code)

    hanging = [threading.Thread(target=hang) for _ in range(4)]
    module_front.send_signal(signal.SIGSTOP)
    for thread in hanging:
        thread.start()
    time.sleep(0.5)

    code, took_s = deployment.terminate()

    module_front.send_signal(signal.SIGCONT)
    for thread in hanging:
        thread.join()
    assert code == 0
    assert took_s < SIGTERM_S
    assert 202 not in statuses
    assert not any(os.path.exists(f"/proc/{worker}") for worker in workers)
