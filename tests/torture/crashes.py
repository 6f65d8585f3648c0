"""``kill -9`` under mixed load: at random moments, and at each step of a write."""

from dataclasses import asdict

from bench.crashes import Crashes
from bench.workspace import make_keys
from tests.torture.harness import none

SEED = 14


def run(scale, directory):
    data_dir = directory / "crashes" / "data"
    data_dir.mkdir(parents=True)
    keys, _ = make_keys(data_dir)
    counts = Crashes(data_dir, keys, seed=SEED).run(int(scale.pick(200, 2)))
    found = asdict(counts)
    acknowledged = f"{counts.acknowledged_events:,} acknowledged events"
    return [
        none(f"{what} after {counts.cycles} kills, of {acknowledged}", found[name])
        for name, what in {
            "lost": "lost requests",
            "doubled": "requests stored twice",
            "halved": "requests stored in part",
            "refused_but_stored": "refused requests that are stored",
            "erased_but_stored": "events of deleted users",
            "unseen": "reads without an acknowledged event",
            "ids_left_in_files": "ids of deleted users in files",
        }.items()
    ]
