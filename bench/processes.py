"""Work in separate processes, servers as children, and what a process costs."""

import multiprocessing
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.02
SETTLED_SHARE = 0.05
SETTLE_STEP_S = 0.25
SETTLE_TIMEOUT_S = 8.0
WORK_TIMEOUT_S = 1800.0

P = ParamSpec("P")
ResultT = TypeVar("ResultT")


class Worker:
    """A process beside this one that does one thing after the other.

    It is spawned, never forked: the engine does not survive a fork. What it caches stays
    cached from one call to the next.
    """

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def start(
        self, work: Callable[P, ResultT], *args: P.args, **kwargs: P.kwargs
    ) -> "Future[ResultT]":
        """Begins the work, or queues it behind what is under way."""
        return self._pool.submit(work, *args, **kwargs)

    def run(self, work: Callable[P, ResultT], *args: P.args, **kwargs: P.kwargs) -> ResultT:
        """What the work returns."""
        return self.start(work, *args, **kwargs).result(WORK_TIMEOUT_S)

    def close(self) -> None:
        """Waits for what is under way, then ends the process."""
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def start_worker() -> Iterator[Worker]:
    """A process beside this one, until the end of the block."""
    worker = Worker()
    try:
        yield worker
    finally:
        worker.close()


@contextmanager
def run_server(
    command: Sequence[str], *, port: int, environ: Mapping[str, str] | None = None
) -> Iterator[int]:
    """A child that listens on ``port``, until the end of the block; yields its process id.

    Raises:
        RuntimeError: it ended, or did not listen in time.
    """
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **(environ or {})},
        start_new_session=True,
    )
    try:
        _await_listener(child, port)
        yield child.pid
    finally:
        stop(child)


def stop(child: "subprocess.Popen[bytes]", *, number: int = signal.SIGTERM) -> None:
    """Ends the child: by the signal, and by SIGKILL where that is not enough."""
    if child.poll() is None:
        child.send_signal(number)
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def find_free_port() -> int:
    """A TCP port of this machine on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _await_listener(child: "subprocess.Popen[bytes]", port: int) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if child.poll() is not None:
            raise RuntimeError(f"a server ended with exit code {child.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(POLL_S)
        else:
            return
    raise RuntimeError(f"a server did not listen within {START_TIMEOUT_S:.0f} s")


def settle(process_id: int) -> None:
    """Returns when the process is idle, or has not become so for a while.

    What one side of a comparison still does in the background must not slow the other.
    """
    deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
    used_s = read_cpu_s(process_id)
    while time.monotonic() < deadline_s:
        time.sleep(SETTLE_STEP_S)
        before_s, used_s = used_s, read_cpu_s(process_id)
        if used_s - before_s < SETTLED_SHARE * SETTLE_STEP_S:
            return


def read_cpu_s(process_id: int) -> float:
    """Processor time the process has used; Linux only."""
    text = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_memory_mb(process_id: int, *, peak: bool = False) -> float:
    """Resident memory in MB (10⁶ bytes), now or at its highest so far; Linux only."""
    name = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{process_id}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"no {name} of process {process_id}")
