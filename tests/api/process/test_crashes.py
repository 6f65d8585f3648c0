"""The API is killed under mixed load, at random moments and at each step of a hand-over."""

from dataclasses import asdict

import pytest

from bench.crashes import Crashes
from bench.workspace import make_keys

pytestmark = pytest.mark.slow

CYCLES = 20
SEED = 7


def test_nothing_acknowledged_is_lost_or_doubled_when_the_process_is_killed(tmp_path):
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    keys, _ = make_keys(data_dir)

    counts = Crashes(data_dir, keys, seed=SEED).run(CYCLES)

    assert counts.faults == 0, asdict(counts)
    assert counts.acknowledged_events > 100
    assert counts.killed_at_a_step > 0
