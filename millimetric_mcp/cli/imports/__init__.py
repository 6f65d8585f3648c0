"""``millimetric-mcp import``: past events from files, each once; and an import taken back."""

import asyncio
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from millimetric_mcp.cli.connections import open_writer
from millimetric_mcp.cli.imports import preview
from millimetric_mcp.cli.imports.files import SourceFile, list_sources
from millimetric_mcp.cli.imports.formats import Format, find_format
from millimetric_mcp.cli.imports.progress import show_progress
from millimetric_mcp.cli.imports.records import Item, Reading
from millimetric_mcp.cli.imports.rejects import RejectsFile
from millimetric_mcp.cli.imports.sending import PART_EVENTS, ImportCounts, Sender, cut_parts
from millimetric_mcp.cli.output import print_json
from millimetric_mcp.client import MillimetricClient
from millimetric_mcp.contract.imports import ImportUndoRequest, StoredImport
from millimetric_mcp.contract.json_text import MAX_JSON_VALUES
from millimetric_mcp.contract.validation import find_zone
from millimetric_mcp.errors import (
    ApiError,
    CallError,
    ImportFailed,
    SettingsError,
    UpstreamError,
)
from millimetric_mcp.settings import LOCAL, ConnectionSettings, check_url, read_settings

EXIT_REJECTED = 3
UNDO_TIMEOUT_S = 600.0

Plan = Sequence[tuple[SourceFile, Format]]


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    """Import files, list imports or take one back; return 3 if records were rejected.

    Raises:
        SettingsError: options or settings are wrong.
        ImportFailed: a file can't be imported.
        CallError: the API did not store a part. The same command goes on from there.
    """
    settings = read_settings(ConnectionSettings, environ=environ, options=vars(options))
    if options.undo or options.list:
        if options.files:
            raise SettingsError(["--undo and --list take no files. Remove them."])
        timeout_s = UNDO_TIMEOUT_S if options.undo else settings.timeout_s
        client = open_writer(settings, environ, timeout_s=timeout_s)
        as_json = options.json
        work = (
            _undo(client, options.undo, as_json=as_json)
            if options.undo
            else _list(client, as_json=as_json)
        )
        return asyncio.run(work)
    reading = read_options(options)
    plan = _make_plan(options, reading)
    if options.dry_run:
        return preview.show(plan, reading, as_json=options.json)
    client = open_writer(settings, environ)
    try:
        return asyncio.run(_import(client, plan, reading, options))
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        raise


def read_options(options: Namespace) -> Reading:
    """Return how to read the files.

    Raises:
        SettingsError: an option is wrong; every wrong one is named.
    """
    errors: list[str] = []
    if not options.files:
        errors.append("import: name a file: millimetric-mcp import access.log")
    if options.site:
        try:
            check_url(options.site)
        except ValueError as error:
            errors.append(f"--site: {error}")
    found = find_zone(options.timezone or "UTC")
    if found is None:
        errors.append("--timezone: Use an IANA name such as Europe/Berlin.")
    columns = dict(part.partition("=")[::2] for part in options.map or ())
    if not all(name and column for name, column in columns.items()):
        errors.append("--map: Use FIELD=COLUMN, such as --map event=name, or FIELD==TEXT.")
    unknown = [name for name in columns if not preview.is_field(name)]
    if unknown:
        fields = ", ".join(preview.FIELDS)
        errors.append(f"--map: {unknown[0]!r} is not a field. Use {fields} or properties.NAME.")
    if errors or found is None:
        raise SettingsError(errors)
    return Reading(
        site=options.site.rstrip("/") if options.site else None,
        zone=found,
        columns=columns,
        keeps_bots=options.keep_bots,
        keeps_assets=options.keep_assets,
        keeps_totals=options.totals,
    )


def _make_plan(options: Namespace, reading: Reading) -> Plan:
    """Return every file with its format, so that a wrong one is an error before anything is sent.

    Raises:
        ImportFailed: a file does not exist, or its format is unknown.
    """
    sources = [source for name in options.files for source in list_sources(Path(name))]
    return [
        (source, find_format(source, name=options.format, is_mapped=bool(reading.columns)))
        for source in sources
    ]


async def _import(
    client: MillimetricClient, plan: Plan, reading: Reading, options: Namespace
) -> int:
    rejected, is_local = 0, options.api_url == LOCAL
    files: list[dict[str, Any]] = []
    written: set[Path] = set()
    async with client:
        stored = await _list_stored(client)
        try:
            for source, found in plan:
                cut = f"{PART_EVENTS} records of {MAX_JSON_VALUES} values"  # the parts' numbers
                import_id = source.make_id(f"{cut} {found.name} {reading!r}")
                done = _find_done(source, import_id, stored, is_local=is_local)
                with RejectsFile(source.name, path=options.rejects, written=written) as rejects:
                    items = found.read(source, reading)
                    counts = await _import_file(client, source, items, import_id, done, rejects)
                rejected += counts.rejected
                if options.json:
                    own = {"import_id": import_id, "rejects": rejects.path and str(rejects.path)}
                    files.append(preview.describe_file(source, found, counts) | own)
                else:
                    _show(source, found, counts, rejects)
                    if counts.events:
                        print(f"  to take it back: {_write_undo(import_id, is_local=is_local)}")
        except (CallError, ImportFailed):
            if files:
                print_json({"files": files})  # what is stored, and how to take it back
            raise
    if options.json:
        print_json({"files": files})
    return EXIT_REJECTED if rejected else 0


async def _import_file(
    client: MillimetricClient,
    source: SourceFile,
    items: Iterable[Item],
    import_id: str,
    done: frozenset[int],
    rejects: RejectsFile,
) -> ImportCounts:
    counts = ImportCounts()
    try:
        with show_progress(source) as on_part:
            sender = Sender(client, import_id, done=done, counts=counts, on_rejected=rejects.add)
            await sender.send(cut_parts(items, counts, rejects.add), on_part)
    except (CallError, ImportFailed) as error:
        if counts.stored == 0:
            raise
        raise ImportFailed(
            f"The import stopped after {counts.stored} events of {source.name}. The same command "
            f"goes on from there. It stopped because of this: {error}"
        ) from None
    return counts


def _write_undo(import_id: str, *, is_local: bool) -> str:
    """Return the command that takes an import back from the API that it went to."""
    return f"millimetric-mcp import{' --local' if is_local else ''} --undo {import_id}"


def _show(source: SourceFile, found: Format, counts: ImportCounts, rejects: RejectsFile) -> None:
    print(f"{source.name} ({found.name}): {counts.stored} events imported")
    if counts.repeated:
        print(f"  {counts.repeated} events were there from an earlier run")
    preview.show_counts(counts)
    if rejects.path:
        print(f"  the reasons are in {rejects.path}")


def _find_done(
    source: SourceFile, import_id: str, stored: Sequence[StoredImport], *, is_local: bool
) -> frozenset[int]:
    """Return the parts of the import that are stored.

    Raises:
        ImportFailed: the file was imported in another form, or is being taken back.
    """
    done: frozenset[int] = frozenset()
    for known in stored:
        undo = _write_undo(known.import_id, is_local=is_local)
        if known.import_id == import_id:
            if known.is_undoing:
                raise ImportFailed(
                    f"Taking back the import of {source.name} did not end. Run: {undo}"
                )
            done = frozenset(
                number for first, last in known.chunks for number in range(first, last + 1)
            )
        elif known.import_id.startswith(f"{source.head_id}-"):
            raise ImportFailed(
                f"A file that begins like {source.name} was imported: the file has grown, or the "
                f"options are others. Its events would count twice. Take it back first: {undo}"
            )
    return done


async def _list_stored(client: MillimetricClient) -> Sequence[StoredImport]:
    """Return the project's imports.

    Raises:
        ImportFailed: the API has no imports.
        CallError: the API did not answer.
    """
    try:
        return (await client.list_imports()).imports
    except (ApiError, UpstreamError) as error:
        if error.status not in {404, 405}:  # another API's body may have any form
            raise
        raise ImportFailed(
            "The API has no /v1/import: it is hosted Millimetric, or an older version. Set "
            "MILLIMETRIC_HOST to an API of this version, or use --local."
        ) from None


async def _undo(client: MillimetricClient, import_id: str, *, as_json: bool) -> int:
    async with client:
        known = {one.import_id for one in await _list_stored(client)}
        if import_id not in known:
            raise ImportFailed(
                "There is no import of that id. The same command with --list, in place of --undo "
                "and the id, shows all."
            )
        result = await client.undo_import(ImportUndoRequest(import_id=import_id))
    text = f"{result.deleted} events were deleted"
    if as_json:
        print_json({"deleted": result.deleted})
    else:
        print(text)
    return 0


async def _list(client: MillimetricClient, *, as_json: bool) -> int:
    async with client:
        found = await _list_stored(client)
    if as_json:
        shown = {"import_id", "started_at", "events", "is_undoing"}
        imports = [one.model_dump(mode="json", include=shown) for one in found]
        print_json({"imports": imports})
        return 0
    for one in found:
        state = ", being taken back" if one.is_undoing else ""
        print(f"{one.import_id}  {one.started_at:%Y-%m-%d %H:%M} UTC  {one.events} events{state}")
    if not found:
        print("no imports")
    return 0
