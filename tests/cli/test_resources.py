"""What the API says about memory and disk when it starts."""

from pathlib import Path

import pytest

from millimetric_mcp.cli.resources import find_free_disk, find_free_memory, list_shortages

GB = 10**9
DATA_DIR = Path("/data")


def make_root(path, *, available_kb=None, limit=None, used=0):
    (path / "proc").mkdir()
    (path / "sys/fs/cgroup").mkdir(parents=True)
    if available_kb is not None:
        text = f"MemTotal: 99 kB\nMemAvailable:   {available_kb} kB\n"
        (path / "proc/meminfo").write_text(text)
    if limit is not None:
        (path / "sys/fs/cgroup/memory.max").write_text(f"{limit}\n")
        (path / "sys/fs/cgroup/memory.current").write_text(f"{used}\n")
    return path


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"available_kb": 2000}, 2_048_000),
        ({"available_kb": 2000, "limit": "max"}, 2_048_000),
        ({"available_kb": 2000, "limit": 1_000_000, "used": 400_000}, 600_000),
        ({"available_kb": 2000, "limit": 1_000_000, "used": 1_200_000}, 0),
        ({}, None),
    ],
    ids=["machine", "no limit", "container", "full container", "unknown"],
)
def test_the_smaller_of_machine_and_container_counts(tmp_path, facts, expected):
    assert find_free_memory(make_root(tmp_path, **facts)) == expected


def test_the_disk_of_a_directory_that_does_not_exist_yet_is_found(tmp_path):
    assert find_free_disk(tmp_path / "a" / "b") > 0


@pytest.mark.parametrize(
    ("memory", "disk", "named"),
    [
        (4 * GB, 4 * GB, []),
        (None, 4 * GB, []),
        (1 * GB, 4 * GB, ["--store-memory-mb"]),
        (4 * GB, GB // 2, ["--data-dir"]),
        (1 * GB, GB // 2, ["--store-memory-mb", "--data-dir"]),
    ],
)
def test_each_shortage_names_what_there_is_what_is_needed_and_the_setting(memory, disk, named):
    found = list(list_shortages(memory=memory, disk=disk, store_memory_mb=1024, data_dir=DATA_DIR))

    assert len(found) == len(named)
    assert all(option in sentence for option, sentence in zip(named, found, strict=True))
    assert all("GB of" in sentence for sentence in found)
