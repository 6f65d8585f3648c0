"""What bounds the engine in this process: its configuration, and how much it is asked at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from millimetric_mcp.api.store import ClientPool

pytestmark = pytest.mark.slow

HEAVY_READS = Path(__file__).with_name("heavy_reads.py")
INSERT_AND_LIST_MODULES = """
import sys
from pathlib import Path
from millimetric_mcp.api.store import ClientPool, embedded_target, migrate
pool = ClientPool(embedded_target(Path(sys.argv[1])))
migrate(pool)
pool.close()
print(*sys.modules)
"""
SERVER_SETTINGS = """
SELECT name, value FROM system.server_settings WHERE changed AND name IN
('os_threads_nice_value_merge_mutate', 'mark_cache_size', 'primary_index_cache_size',
'max_server_memory_usage')
ORDER BY name
"""


def test_the_engine_starts_with_the_package_s_configuration(engine_target):
    pool = ClientPool(engine_target)

    found = pool.run(lambda client: client.query(SERVER_SETTINGS).result_rows)

    pool.close()
    assert found == [
        ("mark_cache_size", "134217728"),
        ("max_server_memory_usage", str(engine_target.memory_mb * 1024 * 1024)),
        ("os_threads_nice_value_merge_mutate", "10"),
        ("primary_index_cache_size", "134217728"),
    ]


def test_no_account_of_memory_outlives_a_statement(engine_target):
    # The engine's account of a user's statements together grows while any of them runs.
    pool = ClientPool(engine_target)

    [[limit]] = pool.query("SELECT getSetting('max_memory_usage_for_user')")

    pool.close()
    assert limit == 0


def test_an_insert_does_not_import_what_only_data_frames_need(tmp_path):
    modules = _run("-c", INSERT_AND_LIST_MODULES, tmp_path / "store")

    assert "chdb" in modules
    assert not {"pandas", "pyarrow", "numpy"} & set(modules)


def test_heavy_reads_at_once_all_have_enough_memory(tmp_path):
    assert _run(HEAVY_READS, tmp_path / "store") == ["1000"] * 4


def _run(*arguments: str | Path) -> list[str]:
    """The words that a separate Python process writes."""
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
