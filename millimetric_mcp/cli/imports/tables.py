"""Our own formats, and any table: NDJSON, CSV and Parquet."""

import csv
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from pydantic_core import from_json, to_jsonable_python

from millimetric_mcp.cli.imports.files import SourceFile
from millimetric_mcp.cli.imports.records import (
    Event,
    Item,
    Reading,
    Rejected,
    keep_present,
    read_time,
    read_value,
)
from millimetric_mcp.contract.imports import ImportedEvent
from millimetric_mcp.contract.json_text import repair_json
from millimetric_mcp.errors import ImportFailed, SettingsError

PARQUET_MAGIC = b"PAR1"
BATCH_ROWS = 2000
MAX_CELL_CHARS = 1024 * 1024

_FIELDS = frozenset(ImportedEvent.model_fields)
_PROPERTY = "properties."

Row = Mapping[str, Any]


def read_rows(
    file: SourceFile, *, columns: Collection[str] | None = None
) -> Iterator[tuple[int, Row | None, object]]:
    """Yield the rows of a CSV, Parquet or NDJSON file with their place and text; None: invalid.

    Of a Parquet file only ``columns`` are read, if they are given.
    """
    if file.sample.startswith(PARQUET_MAGIC):
        yield from _read_parquet(file, columns)
    elif file.sample.lstrip()[:1] == b"{":
        yield from read_json_lines(file)
    else:
        yield from read_csv(file)


def read_json_lines(file: SourceFile) -> Iterator[tuple[int, Row | None, object]]:
    """Yield the objects of a file with one a line."""
    for number, line in file.lines():
        try:
            row = from_json(repair_json(line))
        except ValueError:
            row = None
        yield number, row if isinstance(row, dict) else None, line


def read_csv(file: SourceFile) -> Iterator[tuple[int, Row | None, object]]:
    """Yield the rows of a table with a header; rows count from 1, the header aside."""
    csv.field_size_limit(MAX_CELL_CHARS)
    with file.text() as text:
        rows = csv.DictReader(text, restkey="", dialect=_find_dialect(file))
        number = 0
        while True:
            number += 1
            try:
                row = next(rows, None)
            except csv.Error:
                yield number, None, ""
                continue
            if row is None:
                return
            is_whole = "" not in row and None not in row.values()
            yield number, row if is_whole else None, row


def read_header(file: SourceFile) -> list[str]:
    """Return the names of a table's columns; none if the file is no table."""
    if file.sample.startswith(PARQUET_MAGIC):
        return list(_open_parquet(file).schema_arrow.names)
    if file.sample.lstrip()[:1] in {b"{", b"["}:
        return []
    line = file.sample.decode("utf-8", "replace").partition("\n")[0].strip()
    try:
        return next(csv.reader([line], dialect=_find_dialect(file)), [])
    except csv.Error:
        return []


def _find_dialect(file: SourceFile) -> type[csv.Dialect]:
    line = file.sample.partition(b"\n")[0].decode("utf-8", "replace")
    delimiters = sorted(",;\t", key=line.count)

    class Found(csv.excel):
        delimiter = delimiters[-1]

    return Found


def _open_parquet(file: SourceFile) -> Any:  # noqa: ANN401 - the library has no types
    try:
        import pyarrow  # noqa: PLC0415 - large, and seldom used
        from pyarrow import parquet  # noqa: PLC0415
    except ModuleNotFoundError:
        sentence = "Parquet files need pyarrow. Install it with: pip install pyarrow"
        raise SettingsError([sentence]) from None
    try:
        return parquet.ParquetFile(file.path)
    except (pyarrow.ArrowException, OSError):
        raise _describe_broken(file) from None


def _describe_broken(file: SourceFile) -> ImportFailed:
    return ImportFailed(f"{file.name} is a broken Parquet file. Fetch it again.")


def _read_parquet(
    file: SourceFile, columns: Collection[str] | None
) -> Iterator[tuple[int, Row | None, object]]:
    number = 0
    parquet = _open_parquet(file)
    names = [name for name in parquet.schema_arrow.names if columns is None or name in columns]
    for batch in _read_batches(file, parquet.iter_batches(batch_size=BATCH_ROWS, columns=names)):
        for row in _list_rows(batch):
            number += 1
            try:
                found = to_jsonable_python(row)  # times and decimals as texts
            except ValueError:  # bytes that are no text
                found = None
            yield number, found, row


def _read_batches(file: SourceFile, batches: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from batches
    except OSError:  # what the library raises for pages that it cannot inflate
        raise _describe_broken(file) from None


def _list_rows(batch: Any) -> Iterator[Row | None]:  # noqa: ANN401 - the library has no types
    """Yield a batch's rows; None for one with a time that Python lacks, such as the year 38000."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):
        if batch.num_rows == 1:
            yield None
        else:
            for index in range(batch.num_rows):
                yield from _list_rows(batch.slice(index, 1))


def is_own(file: SourceFile) -> bool:
    """Return whether the rows are events as the API takes them, or as it shows them."""
    names = set(read_header(file))
    if not names:
        _, row, _ = next(read_json_lines(file), (0, None, b""))
        names = set(row or ())
    return "timestamp" in names and bool(names & {"event", "event_name"})


def read_own(file: SourceFile, reading: Reading) -> Iterator[Item]:
    """Read events as the API takes them, or event rows as it shows them."""
    rows = read_rows(file, columns=_FIELDS | {"event_name"})
    yield from _read_items(rows, reading, _read_own_row)


def read_mapped(file: SourceFile, reading: Reading) -> Iterator[Item]:
    """Read a table whose columns ``--map`` names."""
    columns = dict(reading.columns or {})
    names = set(read_header(file)) or None
    missing = [
        column
        for column in columns.values()
        if names and not column.startswith("=") and column not in names
    ]
    if missing:
        has = ", ".join(sorted(names or ()))
        raise ImportFailed(f"--map: {file.name} has no column {missing[0]}. It has {has}.")
    for name in sorted(_FIELDS & (names or set())):
        columns.setdefault(name, name)
    unnamed = [name for name in ("event", "timestamp") if names and name not in columns]
    if names and unnamed:
        raise ImportFailed(
            f"--map: {file.name} has no column {unnamed[0]}. Add --map {unnamed[0]}=COLUMN. "
            f"It has {', '.join(sorted(names))}."
        )

    def read_row(row: Row, reading: Reading) -> Event:
        return _map_row(row, columns, reading)

    rows = read_rows(file, columns=frozenset(columns.values()))
    yield from _read_items(rows, reading, read_row)


def _map_row(row: Row, columns: Mapping[str, str], reading: Reading) -> Event:
    event: Event = {}
    properties: dict[str, Any] = {}
    for name, column in columns.items():
        value = column[1:] if column.startswith("=") else row.get(column)
        if value is None or value == "":
            continue
        if name.startswith(_PROPERTY):
            properties[name.removeprefix(_PROPERTY)] = read_value(value)
        else:
            event[name] = str(value) if isinstance(value, int | float) else value
    if properties:
        event["properties"] = {**_read_properties(event.get("properties")), **properties}
    return _complete(event, reading)


def _read_own_row(row: Row, reading: Reading) -> Event:
    event = {name: row[name] for name in _FIELDS if row.get(name) not in (None, "")}
    if "event_name" in row:
        event["event"] = row["event_name"]
    return _complete(event, reading)


def _complete(event: Event, reading: Reading) -> Event:
    event["timestamp"] = read_time(event.get("timestamp", ""), reading.zone)
    if "properties" in event:
        event["properties"] = _read_properties(event["properties"])
    return keep_present(event)


def _read_properties(value: object) -> dict[str, Any]:
    if isinstance(value, str):
        value = from_json(repair_json(value.encode()))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("properties: is not a JSON object")  # noqa: TRY004 - the row's fault
    return value


def _read_items(
    rows: Iterable[tuple[int, Row | None, object]],
    reading: Reading,
    read_row: Any,  # noqa: ANN401
) -> Iterator[Item]:
    for number, row, text in rows:
        if row is None:
            yield Item(number, Rejected("is not a complete row"), text)
            continue
        try:
            yield Item(number, read_row(row, reading), text)
        except ValueError as error:
            yield Item(number, Rejected(_describe(error)), text)


def _describe(error: ValueError) -> str:
    text = str(error)
    return text if text.startswith(("timestamp:", "properties:")) else "properties: is not JSON"
