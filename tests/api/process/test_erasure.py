"""After a forget the id is nowhere under the data directory, by a search first seen to find it."""

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lz4 import block as lz4

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

USER = "user_with_a_name_like_no_other"
MARKER = b"like_no_other"
ZSTD_FRAME = b"\x28\xb5\x2f\xfd"
LZ4_HEADER = re.compile(rb"\x82(.{4})(.{4})", re.DOTALL)
MAX_BLOCK_BYTES = 16 * 1024 * 1024


def test_an_erased_id_is_nowhere_under_the_data_directory(start_api):
    api = start_api()
    events = [
        {"event": "x", "user_id": USER, "anonymous_id": "erased", "properties": {"name": USER}},
        {"event": "x", "user_id": USER, "url": f"https://shop.example/?u={USER}"},
        {"event": "x", "user_id": "another", "anonymous_id": "stays"},
    ]
    for event in events:
        api.post("/v1/track", event)
    api.post("/v1/batch", {"events": events * 100})
    api.post("/v1/identify", {"anonymous_id": "erased", "user_id": USER, "traits": {"n": USER}})
    assert any("data" in str(path) for path in find_marker(api.data_dir))
    assert {api.post("/v1/forget", {"user_id": USER}).status_code} == {200}

    wait_for_no_marker(api.data_dir, timeout_s=60)

    assert MARKER.decode() not in api.stderr()
    assert [row["value"] for row in api.rows("/v1/stats")] == [101]
    assert api.rows("/v1/query", user_id=USER) == []
    assert len(api.rows("/v1/query", user_id="another", limit=1000)) == 101
    [source] = api.rows("/v1/sources", breakdown="source")
    assert (source["events"], source["uniques"]) == (101, 1)


def wait_for_no_marker(directory: Path, *, timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while found := find_marker(directory):
        assert time.monotonic() < deadline_s, found
        time.sleep(0.5)


def find_marker(directory: Path) -> list[Path]:
    return [
        path
        for path in directory.rglob("*")
        if path.is_file() and any(MARKER in text for text in read_all(path))
    ]


def read_all(path: Path) -> Iterator[bytes]:
    """A file's bytes as they are, and each compressed block in it, wherever it starts."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    yield content
    for match in re.finditer(re.escape(ZSTD_FRAME), content):
        yield inflate_zstd(content[match.start() :])
    for match in LZ4_HEADER.finditer(content):
        packed, unpacked = (int.from_bytes(match[group], "little") for group in (1, 2))
        if 9 < packed <= len(content) and unpacked <= MAX_BLOCK_BYTES:
            yield inflate_lz4(content[match.end() : match.start() + packed], unpacked)


def inflate_zstd(content: bytes) -> bytes:
    try:
        return zstd.ZstdDecompressor().decompress(content, MAX_BLOCK_BYTES)
    except zstd.ZstdError:
        return b""


def inflate_lz4(content: bytes, size: int) -> bytes:
    try:
        return lz4.decompress(content, uncompressed_size=size)
    except lz4.LZ4BlockError:
        return b""
