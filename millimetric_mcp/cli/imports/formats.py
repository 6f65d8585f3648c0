"""Every format, how to know it, and how to read it."""

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from millimetric_mcp.cli.imports import access_logs, matomo, peers, tables
from millimetric_mcp.cli.imports.files import SourceFile
from millimetric_mcp.cli.imports.records import Item, Reading
from millimetric_mcp.errors import ImportFailed

Read = Callable[[SourceFile, Reading], Iterator[Item]]


@dataclass(frozen=True, slots=True)
class Format:
    """One format: ``is_found_in`` looks at a file's beginning."""

    name: str
    read: Read
    is_found_in: Callable[[SourceFile], bool]


FORMATS = {
    known.name: known
    for known in (
        Format("plausible", peers.read_plausible, peers.is_plausible),
        Format("umami", peers.read_umami, peers.is_umami),
        Format("posthog", peers.read_posthog, peers.is_posthog),
        Format("ga4", peers.read_ga4, peers.is_ga4),
        Format("matomo", matomo.read_matomo, matomo.is_matomo),
        Format(
            "cloudfront",
            access_logs.read_cloudfront,
            lambda file: access_logs.is_cloudfront(file.sample),
        ),
        Format("caddy", access_logs.read_caddy, lambda file: access_logs.is_caddy(file.sample)),
        Format(
            "combined", access_logs.read_combined, lambda file: access_logs.is_combined(file.sample)
        ),
        Format("events", tables.read_own, tables.is_own),
        Format("table", tables.read_mapped, lambda _: False),
    )
}
"""In the order in which a file is compared with them."""


NAMED_FORMATS = tuple(name for name in FORMATS if name != "table")
"""The formats that need no further option."""


_UNREADABLE = {
    codecs.BOM_UTF16_LE: "is UTF-16 text. Save it as UTF-8",
    codecs.BOM_UTF16_BE: "is UTF-16 text. Save it as UTF-8",
    b"BZh": "is compressed with bzip2. Unpack it, or compress it with gzip",
    b"\xfd7zXZ\0": "is compressed with xz. Unpack it, or compress it with gzip",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd. Unpack it, or compress it with gzip",
}
"""What files with these first bytes are, and what to do."""


def find_format(file: SourceFile, *, name: str | None, is_mapped: bool) -> Format:
    """Return the format of that name, else the one that the file's beginning has.

    Raises:
        ImportFailed: it has none, it has totals instead of events, or it can't be read.
    """
    for start, sentence in _UNREADABLE.items():
        if file.sample.startswith(start):
            raise ImportFailed(f"{file.name} {sentence}.")
    if is_mapped:
        return FORMATS["table"]
    if name is not None:
        return FORMATS[name]
    if not file.sample.strip():
        raise ImportFailed(f"{file.name} is empty.")
    found = next((known for known in FORMATS.values() if known.is_found_in(file)), None)
    if found is not None:
        return found
    if owner := peers.find_totals(file):
        raise ImportFailed(
            f"{file.name} is a report of {owner} with totals, not events, so it can't be "
            "imported. docs/import.md says how to export the events."
        )
    hint = ""
    if file.sample.lstrip()[:1] in {b"{", b"["}:
        hint = "JSON needs one object a line; 'jq -c .[]' writes a list so. "
    raise ImportFailed(
        f"The format of {file.name} is unknown. {hint}Name it with --format "
        f"({', '.join(NAMED_FORMATS)}), or name a table's columns with --map."
    )
