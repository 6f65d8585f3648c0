"""Where a run happens: how much is measured, the data it needs, the API it measures."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import urlsplit

import httpx

from bench.data import Loading, find_loading, fingerprint_schema, load_store, mark_loaded
from bench.processes import start_worker
from millimetric_mcp.api.control import FIRST_PROJECT, Control, NewKey, datadir, open_control
from millimetric_mcp.contract.keys import KeyEnv, KeyKind
from millimetric_mcp.demo.processes import Keys, run_api
from millimetric_mcp.settings import ControlSettings

DATA = "data"
READ_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured; ``duration_s`` is one repetition's."""

    quick: bool
    repetitions: int
    duration_s: float
    warm_up_s: float
    track_requests: int
    inserts: int
    batch_requests: int
    import_mb: float
    import_runs: int
    small_events: int
    large_events: int
    scaled_events: int
    reads: int
    windows: int
    starts: int
    spawns: int
    calls: int


FULL = Scale(
    quick=False,
    repetitions=5,
    duration_s=5.0,
    warm_up_s=1.0,
    track_requests=20_000,
    inserts=100,
    batch_requests=40,
    import_mb=1_000,
    import_runs=1,
    small_events=1_000_000,
    large_events=10_000_000,
    scaled_events=100_000_000,
    reads=9,
    windows=40,
    starts=5,
    spawns=15,
    calls=200,
)
QUICK = Scale(
    quick=True,
    repetitions=1,
    duration_s=0.5,
    warm_up_s=0.1,
    track_requests=500,
    inserts=3,
    batch_requests=3,
    import_mb=1,
    import_runs=1,
    small_events=20_000,
    large_events=60_000,
    scaled_events=100_000,
    reads=2,
    windows=4,
    starts=1,
    spawns=2,
    calls=10,
)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A running API, the keys of its one project, and how long its start took."""

    port: int
    process_id: int
    started_in_s: float
    data_dir: Path
    keys: Keys = field(repr=False)
    project_id: int
    http: httpx.Client = field(repr=False)

    def get(self, path: str) -> dict[str, list[dict[str, object]]]:
        """The body of a successful read."""
        answer = self.http.get(path)
        answer.raise_for_status()
        body: dict[str, list[dict[str, object]]] = answer.json()
        return body


class Workspace:
    """A temporary directory, and loaded stores that outlive it where ``data_dir`` is given."""

    def __init__(
        self, directory: Path, *, scale: Scale, data_dir: Path | None, say: Callable[[str], None]
    ) -> None:
        self.directory = directory
        self.scale = scale
        self.say = say
        self._loaded = data_dir or directory / "loaded"

    def load(self, events: int) -> tuple[Path, Loading]:
        """A data directory filled with so many events; filled now unless it is there already."""
        home = self._loaded / f"{events}-{fingerprint_schema()}"
        loading = find_loading(home / DATA, events=events)
        if loading is None:
            shutil.rmtree(home, ignore_errors=True)
            loading = self._fill(home / DATA, events)
        return home / DATA, loading

    def _fill(self, data_dir: Path, events: int) -> Loading:
        self.say(f"  loading {events:,} events")
        project_id = make_keys(data_dir)[1]
        began_s = time.monotonic()
        with start_worker() as loader:
            loader.run(load_store, data_dir, events=events, project_id=project_id)
        took_s = round(time.monotonic() - began_s, 1)
        loading = Loading(events, project_id, fingerprint_schema(), took_s)
        mark_loaded(data_dir, loading)
        return loading

    @contextmanager
    def deploy(
        self,
        loaded: Path | None = None,
        *,
        options: Sequence[str] = (),
        in_place: bool = False,
    ) -> Iterator[Deployment]:
        """The API as a separate process, on an empty directory or on a copy of a loaded one.

        ``in_place`` is for a directory that is too large to copy: it gets new keys. Rate limits
        are off, everything else is as a user gets it, unless ``options`` say otherwise; writes
        are durable.
        """
        home = loaded.parent if loaded and in_place else Path(mkdtemp(dir=self.directory))
        if loaded and not in_place:
            shutil.copytree(loaded, home / DATA, symlinks=True)
        keys, project_id = make_keys(home / DATA)
        try:
            with (
                run_api(home, environ=os.environ, options=options) as api,
                httpx.Client(
                    base_url=api.url,
                    headers={"Authorization": f"Bearer {keys.read}"},
                    timeout=READ_TIMEOUT_S,
                    trust_env=False,
                ) as http,
            ):
                yield Deployment(
                    port=urlsplit(api.url).port or 0,
                    process_id=api.process.pid,
                    started_in_s=api.started_in_s,
                    data_dir=api.data_dir,
                    keys=keys,
                    project_id=project_id,
                    http=http,
                )
        finally:
            if not in_place:
                shutil.rmtree(home)


def make_keys(data_dir: Path) -> tuple[Keys, int]:
    """New keys of the first project, and its id."""
    write, read = (create_key(data_dir, kind) for kind in (KeyKind.SK, KeyKind.RK))
    return Keys(write.key.reveal(), read.key.reveal()), write.record.project_id


def create_key(
    data_dir: Path, kind: KeyKind, *, project: str = FIRST_PROJECT, origins: Sequence[str] = ()
) -> NewKey:
    """A new key of a project, which is made if there is none."""
    with open_keys(data_dir) as control:
        return control.create_key(kind=kind, env=KeyEnv.LIVE, project=project, origins=origins)


@contextmanager
def open_keys(data_dir: Path) -> Iterator[Control]:
    """The projects and keys of a data directory; the API may run or not."""
    settings = ControlSettings(data_dir=data_dir)
    datadir.prepare_data_dir(settings)
    control = open_control(
        datadir.control_dsn(settings, data_dir),
        pepper=datadir.resolve_secrets(settings, data_dir).pepper,
        ip_salt=None,
    )
    try:
        yield control
    finally:
        control.close()
