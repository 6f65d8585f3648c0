"""``millimetric-mcp export``: events as NDJSON, CSV or Parquet, of any number."""

import asyncio
import csv
import json
import os
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from millimetric_mcp.cli.connections import open_reader
from millimetric_mcp.client import MillimetricClient
from millimetric_mcp.contract.columns import SHOWN_COLUMNS
from millimetric_mcp.contract.filters import FILTERS, split_name
from millimetric_mcp.contract.reads import MAX_QUERY_LIMIT, Order, QueryParams
from millimetric_mcp.contract.validation import (
    EPOCH,
    list_field_errors,
    parse_timestamp,
)
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import ConnectionSettings, read_settings

_ENDINGS = {
    "": "ndjson",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
}
"""The format of each file's ending."""
COLUMNS = tuple(column.name for column in SHOWN_COLUMNS)

Row = Mapping[str, Any]
WriteRows = Callable[[Sequence[Row]], object]


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    """Write the events of a window, oldest first; return 0.

    Raises:
        SettingsError: options or settings are wrong.
        CallError: the API did not answer. No file is left.
    """
    settings = read_settings(ConnectionSettings, environ=environ, options=vars(options))
    params = _read_params(options)
    written = _choose_format(options)
    client = open_reader(settings, environ)
    with written as write:
        count = asyncio.run(_export(client, params, write))
    text = f"{count} events"
    if options.json:
        text = json.dumps({"events": count, "output": options.output})
    print(text, file=sys.stdout if options.json and options.output else sys.stderr)
    return 0


def _read_params(options: Namespace) -> QueryParams:
    """Return the question for the first events.

    Raises:
        SettingsError: an option is wrong; every wrong one is named.
    """
    names = {"from": "--from", "to": "--to", "": "--from"}
    values: dict[str, Any] = {"order": Order.OLDEST, "limit": MAX_QUERY_LIMIT}
    values["from"] = _read_time(options.from_) or EPOCH
    values["to"] = _read_time(options.to) or datetime.now(UTC) + timedelta(days=1)
    filters: dict[str, list[str]] = {}
    allowed = f"one of {', '.join(FILTERS)} or properties.KEY"
    errors: list[str] = []
    for text in options.filter or ():
        name, found, value = text.partition("=")
        if not found or not split_name(name):
            errors.append(f"--filter: Use NAME=VALUE, where NAME is {allowed}.")
        filters.setdefault(name, []).append(value)
    values["filters"] = filters
    try:
        params = QueryParams.model_validate(values)
    except ValidationError as error:
        for wrong in list_field_errors(error):
            option = names.get(wrong.field, "--filter")
            errors.append(f"{option}: {wrong.field} {wrong.message}".replace(":  ", ": "))
    if errors:
        raise SettingsError(list(dict.fromkeys(errors)))
    return params


def _read_time(text: str | None) -> datetime | str | None:
    """Return midnight UTC of a date; other texts as they are, to be checked with the rest."""
    try:
        return datetime.strptime(text or "", "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return text


async def _export(client: MillimetricClient, params: QueryParams, write: WriteRows) -> int:
    count = 0
    async with client:
        async for rows in _read_pages(client, params):
            write(rows)
            count += len(rows)
    return count


async def _read_pages(
    client: MillimetricClient, params: QueryParams
) -> AsyncIterator[Sequence[Row]]:
    while True:
        result = await client.query(params)
        yield [row.model_dump() for row in result.rows]
        if result.next is None:
            return
        params = params.model_copy(update={"after": result.next})


def _choose_format(options: Namespace) -> AbstractContextManager[WriteRows]:
    """Return what writes rows; its file appears when all of them are written.

    Raises:
        SettingsError: Parquet without a file, or without its library; the file can't be created.
    """
    path = _find_output(options.output) if options.output else None
    name = options.format or (_ENDINGS.get(path.suffix.lower()) if path else "ndjson")
    if name is None:
        raise SettingsError([f"--output: {path} ends in no known format. Add --format."])
    if name == "parquet":
        if path is None:
            raise SettingsError(["--format parquet needs a file. Add --output events.parquet."])
        return _write_parquet(path)
    return _write_csv(path) if name == "csv" else _write_ndjson(path)


def _find_output(name: str) -> Path:
    """Return the file of that name, where a link leads to.

    Raises:
        SettingsError: it can't be created.
    """
    path = Path(name).resolve()
    if path.is_dir():
        raise SettingsError([f"--output: {name} is a directory. Name a file in it."])
    if path.exists() and not path.is_file():
        raise SettingsError([f"--output: {name} is not a file. Use > {name} instead of --output."])
    if not path.parent.is_dir():
        raise SettingsError([f"--output: {path.parent} does not exist. Create it first."])
    return path


@contextmanager
def _write_ndjson(path: Path | None) -> Iterator[WriteRows]:
    with _open_output(path) as file:

        def write(rows: Sequence[Row]) -> None:
            for row in rows:
                # The properties are JSON already, with numbers of any length.
                text = json.dumps({**row, "properties": None}, ensure_ascii=False)
                file.write(f"{text.removesuffix('null}')}{row['properties']}}}\n")

        yield write


@contextmanager
def _write_csv(path: Path | None) -> Iterator[WriteRows]:
    with _open_output(path) as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        yield writer.writerows


@contextmanager
def _write_parquet(path: Path) -> Iterator[WriteRows]:
    try:
        import pyarrow  # noqa: PLC0415 - large, and only for this format
        from pyarrow import parquet  # noqa: PLC0415
    except ModuleNotFoundError:
        sentence = "--format parquet needs pyarrow. Install it with: pip install pyarrow"
        raise SettingsError([sentence]) from None
    time, text = pyarrow.timestamp("ms", "UTC"), pyarrow.string()
    schema = pyarrow.schema([(name, time if name == "timestamp" else text) for name in COLUMNS])
    with _replacing(path) as part, parquet.ParquetWriter(part, schema) as writer:

        def write(rows: Sequence[Row]) -> None:
            table = [{**row, "timestamp": parse_timestamp(row["timestamp"])} for row in rows]
            writer.write_table(pyarrow.Table.from_pylist(table, schema))

        yield write


@contextmanager
def _open_output(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    with _replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a name beside ``path`` that becomes it at the end, so that no half file has its name."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
