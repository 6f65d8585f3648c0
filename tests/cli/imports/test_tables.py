"""Our own formats, and tables whose columns are named."""

import bz2
import lzma
import os
import re
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from millimetric_mcp.cli.imports.formats import NAMED_FORMATS
from millimetric_mcp.cli.parser import _IMPORT_FORMATS
from millimetric_mcp.errors import ImportFailed

BERLIN = ZoneInfo("Europe/Berlin")


def test_events_as_the_api_takes_them_are_read(read):
    text = (
        '{"event":"signup","timestamp":"2026-05-16T19:00:00Z","properties":{"n":1},"extra":1}\n'
        '{"event":"signup"}\n'
        "not json\n"
    )

    found = read(text)

    assert found.formats == ["events"]
    assert found.events == [
        {"event": "signup", "timestamp": "2026-05-16T19:00:00+00:00", "properties": {"n": 1}}
    ]
    assert found.rejected == [
        (2, "timestamp: is not an ISO 8601 or Unix time"),
        (3, "is not a complete row"),
    ]


def test_event_rows_as_the_api_shows_them_are_read(read):
    text = (
        "timestamp,event_name,event_id,anonymous_id,source,country,os,properties\n"
        '2026-05-16T19:00:00.000Z,signup,e1,v1,facebook,DE,ios,"{""plan"":""free""}"\n'
    )

    assert read(text).events == [
        {
            "event": "signup",
            "event_id": "e1",
            "timestamp": "2026-05-16T19:00:00+00:00",
            "anonymous_id": "v1",
            "country": "DE",
            "os": "ios",
            "properties": {"plan": "free"},
        }
    ]


def test_named_columns_fill_fields_and_properties(read):
    text = "when;who;total;page\n2026-05-16 19:00:00;u1;12.50;https://shop.example/\n"
    columns = {
        "event": "=purchase",
        "timestamp": "when",
        "user_id": "who",
        "url": "page",
        "properties.amount": "total",
    }

    assert read(text, columns=columns, zone=BERLIN).events == [
        {
            "event": "purchase",
            "timestamp": "2026-05-16T19:00:00+02:00",
            "user_id": "u1",
            "url": "https://shop.example/",
            "properties": {"amount": 12.5},
        }
    ]


def test_a_number_fills_a_text_field_as_it_is_written(read):
    text = '{"at":1779000000,"customer":42}\n'
    columns = {"event": "=purchase", "timestamp": "at", "user_id": "customer"}

    [event] = read(text, columns=columns).events

    assert (event["user_id"], event["timestamp"]) == ("42", "2026-05-17T06:40:00.000+00:00")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1779000000", "2026-05-17T06:40:00.000+00:00"),
        ("1779000000250", "2026-05-17T06:40:00.250+00:00"),
        ("2026-05-16", "2026-05-16T00:00:00+02:00"),
        ("2026-01-16T19:00:00", "2026-01-16T19:00:00+01:00"),
        ("2026-05-16T19:00:00Z", "2026-05-16T19:00:00+00:00"),
        ("2026-05-16 19:00:00 UTC", "2026-05-16T19:00:00+00:00"),
    ],
)
def test_a_time_of_each_form_is_read(read, text, time):
    columns = {"event": "=e", "timestamp": "at"}

    [event] = read(f"at\n{text}\n", columns=columns, zone=BERLIN).events

    assert event["timestamp"] == time


def test_a_column_that_is_missing_is_named(read):
    with pytest.raises(ImportFailed, match=r"has no column when\. It has at, name"):
        read("at,name\n1,2\n", columns={"timestamp": "when"})


def test_a_row_with_too_few_cells_is_rejected(read):
    found = read("event,timestamp\na\n", columns={"event": "event"})

    assert found.rejected == [(1, "is not a complete row")]


def test_cells_may_hold_line_breaks_and_quotes(read):
    text = 'event,timestamp,note\na,2026-05-16,"two\nlines, ""quoted"""\n'

    [event] = read(text, columns={"event": "event", "properties.note": "note"}).events

    assert event["properties"] == {"note": 'two\nlines, "quoted"'}


def test_a_parquet_file_is_read(tmp_path, read_file):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet  # noqa: PLC0415

    rows = [{"event": "a", "timestamp": f"2026-05-16T19:00:{i % 60:02}Z"} for i in range(5000)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "events.parquet")

    found = read_file(tmp_path / "events.parquet")

    assert found.formats == ["events"]
    assert len(found.events) == 5000


def test_values_of_a_parquet_file_that_json_lacks_are_texts_or_rejected(tmp_path, read_file):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet  # noqa: PLC0415

    moment = datetime(2026, 5, 16, 19, tzinfo=UTC)
    values = [Decimal("1.50"), date(2026, 5, 16), b"text", b"\xff"]
    for number, value in enumerate(values):
        table = pyarrow.table({"event": ["a"], "timestamp": [moment], "value": [value]})
        parquet.write_table(table, tmp_path / f"{number}.parquet")
    columns = {"event": "event", "timestamp": "timestamp", "properties.value": "value"}

    found = [read_file(tmp_path / f"{number}.parquet", columns=columns) for number in range(4)]

    properties = [file.events[0]["properties"]["value"] for file in found[:3]]
    assert properties == [1.5, "2026-05-16", "text"]
    assert found[3].rejected == [(1, "is not a complete row")]


def test_columns_of_a_parquet_file_that_no_field_needs_are_not_read(tmp_path, read_file):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet  # noqa: PLC0415

    moment = datetime(2026, 5, 16, 19, tzinfo=UTC)
    far = pyarrow.array([2**60], pyarrow.timestamp("us"))
    table = {"event": ["a"], "timestamp": [moment], "digest": [b"\xff"], "far": far}
    parquet.write_table(pyarrow.table(table), tmp_path / "events.parquet")

    for columns in (None, {"event": "=b"}):
        found = read_file(tmp_path / "events.parquet", columns=columns)
        assert (len(found.events), found.rejected) == (1, [])


def test_a_row_of_a_parquet_file_with_a_time_that_python_lacks_is_rejected(tmp_path, read_file):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet  # noqa: PLC0415

    times = pyarrow.array([0, 2**60, 0], pyarrow.timestamp("us", "UTC"))
    table = pyarrow.table({"event": ["a", "b", "c"], "timestamp": times})
    parquet.write_table(table, tmp_path / "events.parquet")

    found = read_file(tmp_path / "events.parquet")

    assert [event["event"] for event in found.events] == ["a", "c"]
    assert found.rejected == [(2, "is not a complete row")]


def test_a_parquet_file_that_is_broken_in_the_middle_is_named(tmp_path, read_file):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet  # noqa: PLC0415

    path = tmp_path / "events.parquet"
    ids = [str(number * 7919) for number in range(5000)]
    table = {"event": ids, "timestamp": ["2026-05-16T19:00:00Z"] * 5000}
    parquet.write_table(pyarrow.table(table), path)
    text = bytearray(path.read_bytes())
    text[3000:9000] = b"\xff" * 6000
    path.write_bytes(text)

    with pytest.raises(ImportFailed, match=r"events\.parquet is a broken Parquet file"):
        read_file(path)


@pytest.mark.parametrize(
    "properties", [r'{"title":"cut \ud83d"}', r'"{\"title\":\"cut \\ud83d\"}"']
)
def test_a_text_that_is_cut_in_an_emoji_is_read_as_the_api_reads_it(read, properties):
    line = f'{{"event":"a","timestamp":"2026-05-16T19:00:00Z","properties":{properties}}}\n'

    [event] = read(line).events

    assert event["properties"] == {"title": "cut \ufffd"}


def test_an_unknown_format_is_an_error_that_names_the_known_ones(read):
    with pytest.raises(ImportFailed, match=r"The format of notes is unknown.*umami.*combined"):
        read("Dear diary,\n", "notes")


def test_an_empty_file_is_an_error(read):
    with pytest.raises(ImportFailed, match="is empty"):
        read("")


def test_a_byte_order_mark_is_no_part_of_the_first_record(read):
    event = '\ufeff{"event":"signup","timestamp":"2026-05-16T19:00:00Z"}\n'

    assert read(event).events == read(event.removeprefix("\ufeff")).events
    assert len(read("\ufeffevent,timestamp\nsignup,2026-05-16\n").events) == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("event,timestamp\na,2026-05-16\n".encode("utf-16"), "UTF-16 text. Save it as UTF-8"),
        (bz2.compress(b"event,timestamp\n"), "compressed with bzip2. Unpack it"),
        (lzma.compress(b"event,timestamp\n"), "compressed with xz. Unpack it"),
        (b"\x28\xb5\x2f\xfd\x04", "compressed with zstd. Unpack it"),
        (b"a,b\rc,d\n", "The format of file is unknown"),
        (b'[{"event": "a"}]', "JSON needs one object a line"),
    ],
)
def test_a_file_that_can_t_be_read_says_what_to_do(read, content, sentence):
    with pytest.raises(ImportFailed, match=re.escape(sentence)):
        read(content)


def test_a_pipe_can_t_be_imported(tmp_path, read_file):
    os.mkfifo(tmp_path / "pipe.csv")

    for path in (tmp_path / "pipe.csv", Path("-")):
        with pytest.raises(ImportFailed, match="is no file on disk"):
            read_file(path)


def test_an_encrypted_zip_file_is_to_be_unpacked(tmp_path, read_file):
    path = tmp_path / "events.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("events.csv", "event,timestamp\n")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the archive's directory
    path.write_bytes(content)

    with pytest.raises(ImportFailed, match=r"is encrypted.*Unpack it"):
        read_file(path)


@pytest.mark.parametrize("absent", ["event", "timestamp"])
def test_a_column_that_every_event_needs_has_to_be_named(read, absent):
    columns = {"event": "name", "timestamp": "when"}
    del columns[absent]

    with pytest.raises(ImportFailed, match=rf"Add --map {absent}=COLUMN. It has name, when"):
        read("name,when\na,2026-05-16\n", columns=columns)


def test_every_record_is_checked_when_one_beside_it_is_invalid(read):
    text = (
        '{"event":5,"timestamp":"2026-05-16T19:00:00Z"}\n'
        '{"event":"a","timestamp":"2999-05-16T19:00:00Z"}\n'
        '{"event":"a","timestamp":"1960-05-16T19:00:00Z"}\n'
        '{"event":"a","timestamp":"2026-05-16T19:00:00Z"}\n'
    )

    found = read(text)

    assert [place for place, _ in found.rejected] == [1, 2, 3]
    assert len(found.events) == 1
    assert found.first == found.last == datetime(2026, 5, 16, 19, tzinfo=UTC)


def test_the_option_names_every_format_of_the_importer():
    assert set(_IMPORT_FORMATS) == set(NAMED_FORMATS)
