"""`kill -9` under mixed load: nothing acknowledged is lost, and nothing is stored twice."""

from dataclasses import asdict

from bench.crashes import Crashes
from bench.report import Check, Findings, Table
from bench.workspace import DATA, Workspace, make_keys

TITLE = "Crashes: `kill -9` under mixed load"
SEED = 14


def measure(workspace: Workspace) -> Findings:
    """One data directory, many starts and kills, then a look at every row."""
    data_dir = workspace.directory / "crashes" / DATA
    data_dir.mkdir(parents=True)
    keys, _ = make_keys(data_dir)
    counts = Crashes(data_dir, keys, seed=SEED).run(workspace.scale.crashes)
    found = asdict(counts)
    return Findings(
        checks=[
            Check(
                f"faults after {counts.cycles} kills under mixed load",
                counts.faults,
                "",
                bound=0,
                at_most=True,
            )
        ],
        tables=[
            Table(
                "Altogether",
                ("what", "count"),
                [(name.replace("_", " "), f"{count:,}") for name, count in found.items()],
            )
        ],
        raw=found,
        notes=[
            (
                "Half of the kills come at random moments, the others at each step between a "
                "request and the engine in turn. Requests are single events, batches, "
                "identifications, deletions and reads."
            )
        ],
    )
