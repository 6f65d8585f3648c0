"""A separate PostgreSQL server, which runs while it is measured."""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from signal import SIGINT
from tempfile import mkdtemp

from bench.processes import POLL_S, START_TIMEOUT_S, find_free_port, stop

USER = "bench"
SETTINGS = ("shared_buffers=512MB", "work_mem=64MB", "max_wal_size=4GB")
"""Everything else as Debian ships it: every commit is flushed."""


def find_postgres() -> Path | None:
    """The newest installed server's programs; Debian keeps them off the PATH."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3])
    )
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


@contextmanager
def run_postgres(programs: Path) -> Iterator[str]:
    """A server on a free port in a temporary directory; yields its DSN.

    It refuses to run as root, so root runs it as the package's own user.
    """
    directory = Path(mkdtemp(prefix="bench-postgres-"))
    owner = "postgres" if os.geteuid() == 0 else None
    password = token_hex(16)
    try:
        _initialise(programs, directory, owner=owner, password=password)
        port = find_free_port()
        options = [part for setting in SETTINGS for part in ("-c", setting)]
        address = ["-h", "127.0.0.1", "-p", str(port), "-k", str(directory)]
        with (directory / "server.log").open("wb") as log:
            server = subprocess.Popen(
                [str(programs / "postgres"), "-D", str(directory / "data"), *address, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=owner,
                group=_group_of(owner),
                extra_groups=[] if owner else None,
                start_new_session=True,
            )
        try:
            _await_ready(programs, port)
            yield f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres"
        finally:
            stop(server, number=SIGINT)
    finally:
        shutil.rmtree(directory)


def _initialise(programs: Path, directory: Path, *, owner: str | None, password: str) -> None:
    secret = directory / "password"
    secret.touch(mode=0o600)
    secret.write_text(password, encoding="utf-8")
    if owner:
        for path in (directory, secret):
            shutil.chown(path, owner)
    subprocess.run(
        [
            str(programs / "initdb"),
            f"--pgdata={directory / 'data'}",
            f"--username={USER}",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ],
        user=owner,
        group=_group_of(owner),
        extra_groups=[] if owner else None,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _group_of(owner: str | None) -> int | None:
    return pwd.getpwnam(owner).pw_gid if owner else None


def _await_ready(programs: Path, port: int) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(ready, check=False).returncode:
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"PostgreSQL was not ready within {START_TIMEOUT_S:.0f} s")
        time.sleep(POLL_S)
