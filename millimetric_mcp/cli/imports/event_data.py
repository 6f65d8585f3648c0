"""The properties of Umami's events, which are in a file beside theirs."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from pydantic_core import from_json, to_json

from millimetric_mcp.cli.imports.files import SourceFile
from millimetric_mcp.cli.imports.records import read_value
from millimetric_mcp.cli.imports.tables import Row, read_header, read_rows

FILE_NAME = "event_data.csv"
EVENTS_NAME = "website_event.csv"
_BOOLEAN = "3"
"""Umami's data_type of true and false; 1 is a text, 2 a number, 4 a time, 5 a list."""


def is_event_data(file: SourceFile) -> bool:
    """Return whether it is the table of properties: one row for each property of an event."""
    return {"event_id", "data_key", "string_value"} <= set(read_header(file))


class EventData:
    """The properties of every event, by its id."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def find(self, event_id: str | None) -> dict[str, Any]:
        """Return the properties of an event; none if there are none."""
        rows = self._database.execute("SELECT name, value FROM data WHERE id = ?", (event_id,))
        return {name: from_json(value) for name, value in rows}


@contextmanager
def open_event_data(events: SourceFile) -> Iterator[EventData]:
    """Read the properties beside a file of events, if there are any."""
    found = events.find_beside(FILE_NAME)
    # Without a name, SQLite keeps the database in a temporary file once it is large.
    with closing(sqlite3.connect("")) as database:
        database.execute("CREATE TABLE data (id TEXT, name TEXT, value BLOB)")
        if found is not None and is_event_data(found):
            rows = (
                (row["event_id"], row["data_key"], to_json(_read_property(row)))
                for _, row, _ in read_rows(found)
                if row
            )
            database.executemany("INSERT INTO data VALUES (?, ?, ?)", rows)
        database.execute("CREATE INDEX of_event ON data (id)")
        yield EventData(database)


def _read_property(row: Row) -> object:
    if number := row.get("number_value"):
        value = read_value(str(number))
        return int(value) if isinstance(value, float) and value.is_integer() else value
    if str(row.get("data_type")) == _BOOLEAN:
        return row["string_value"] == "true"
    return row["string_value"] or row.get("date_value")
