"""Events: what is written once, what is cut, and that the text can be read back."""

import json
import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millimetric_mcp.contract.reads import EventRow
from millimetric_mcp.mcp.render.events import (
    DEFAULT_EVENT_COLUMNS,
    EVENT_COLUMNS,
    order_columns,
    present_event,
    render_events,
)
from millimetric_mcp.mcp.render.table import write_table
from millimetric_mcp.mcp.render.untrusted import escape_invisible

VISITOR = "22721bc7-7615-488d-b307-77debbd78aea"
OTHER = "e7118135-89a7-475f-bcf3-3733ab838e20"


def render(rows, *, columns=None, max_chars=100_000, **options):
    table = render_events(rows, max_chars=max_chars, columns=columns, **options)
    return write_table(table, receipt=["Receipt."], max_chars=max_chars)


def lines(rows, **options):
    return render(rows, **options).text.splitlines()


def test_event_is_a_line_below_its_date(event):
    row = event(
        timestamp="2026-05-16T19:00:00.123Z",
        user_id="user_42",
        source="facebook",
        medium="paid",
        path="/a,b",
        properties='{"plan":"pro","n":1}',
    )
    assert lines([row]) == [
        "Receipt.",
        "timestamp,event_name,who,source,medium,country,path,properties",
        "2026-05-16",
        '19:00:00.123,signup,user:user_42,facebook,paid,DE,"/a,b",{"plan":"pro","n":1}',
    ]


def test_date_stands_once_a_day_and_zero_milliseconds_are_left_out(event):
    times = ["17T00:00:00.001", "16T23:59:59.000", "16T00:00:00.999", "14T12:00:00.000"]
    rows = [event(timestamp=f"2026-05-{time}Z") for time in times]
    assert lines(rows, columns=["timestamp"])[2:] == [
        "2026-05-17",
        "00:00:00.001",
        "2026-05-16",
        "23:59:59",
        "00:00:00.999",
        "2026-05-14",
        "12:00:00",
    ]


def test_time_of_another_form_is_not_changed(event):
    rows = [event(), event(timestamp="2026-05-16 19:00:00"), event()]
    assert lines(rows, columns=["timestamp"])[2:] == [
        "2026-05-16",
        "19:00:00",
        "2026-05-16 19:00:00",
        "2026-05-16",
        "19:00:00",
    ]


@pytest.mark.parametrize(
    ("ids", "who"),
    [
        ({"user_id": "user_42"}, "user:user_42"),
        ({"user_id": None}, "a-1"),
        ({"user_id": ""}, "a-1"),
        ({"anonymous_id": "user:user_42"}, "anon:user:user_42"),
        ({"anonymous_id": "anon:x"}, "anon:anon:x"),
        ({"anonymous_id": "#1"}, '"#1"'),
    ],
)
def test_who_is_the_user_else_the_visitor_and_the_two_cannot_be_confused(ids, who, event):
    assert lines([event(**ids)], columns=["who"])[-1] == who


def test_value_of_every_row_stands_once_above_the_table(event):
    rows = [
        event(source="facebook", medium="paid", path=path, country="", user_id="u, 1")
        for path in ("/a", "/b", "/c")
    ]
    shared = 'event_name=signup, who="user:u, 1", source=facebook, medium=paid'
    assert lines(rows) == [
        "Receipt.",
        f"Every row: {shared}; no country, properties.",
        "timestamp,path",
        "2026-05-16",
        "19:00:00,/a",
        "19:00:00,/b",
        "19:00:00,/c",
    ]


def test_shared_value_cannot_look_like_a_note(event):
    rows = [event(event_name="a; no path", path=f"/{n}") for n in range(3)]
    assert lines(rows, columns=["path", "event_name"])[1] == 'Every row: event_name="a; no path".'


@pytest.mark.parametrize(
    "path", ["/a medium=paid campaign=summer source_rule_id=gclid", "/a=b", "/(a)", "/1 % b"]
)
def test_shared_value_cannot_look_like_another_column(path, event):
    rows = [event(event_name=f"e{n}", path=path) for n in range(3)]
    assert lines(rows, columns=["event_name", "path"])[1] == f'Every row: path="{path}".'


def test_cut_values_are_not_shared(event):
    rows = [event(path="/" + "x" * 300 + str(n)) for n in range(3)]
    assert lines(rows, columns=["event_name", "path"])[1] == "event_name,path"


def test_number_of_many_digits_is_cut_like_a_text(event):
    rows = [event(properties=json.dumps({"n": int(f"{n}" * 900)})) for n in range(1, 4)]
    assert lines(rows, columns=["properties"], max_cell_chars=200)[-1] == f"{'3' * 200}…[+700]"


def test_the_values_that_two_rows_share_stay_in_their_rows(event):
    assert lines([event(), event()])[1].startswith("timestamp,event_name")


def test_first_column_is_never_shared(event):
    assert lines([event()] * 3, columns=["event_name"]) == [
        "Receipt.",
        "event_name",
        *["signup"] * 3,
    ]


def test_long_shared_values_stay_in_their_rows_if_little_room_is_left(event):
    rows = [event(path="/" + "x" * 150, event_name=name) for name in "abc"]
    assert "Every row" not in render(rows, max_chars=600).text
    assert "Every row" in render(rows, max_chars=6000).text


def test_repeated_id_is_written_once_and_then_as_a_number(event):
    rows = [
        event(anonymous_id=VISITOR, path="/1"),
        event(anonymous_id=OTHER, path="/2"),
        event(anonymous_id=VISITOR, path="/3"),
        event(anonymous_id="short", path="/4"),
        event(anonymous_id="short", path="/5"),
    ]
    assert lines(rows, columns=["who", "path"]) == [
        "Receipt.",
        "#1=ID: an id that occurs again, as #1.",
        "who,path",
        f"#1={VISITOR},/1",
        f"{OTHER},/2",
        "#1,/3",
        "short,/4",
        "short,/5",
    ]


def test_repeated_id_has_one_number_across_columns(event):
    rows = [event(anonymous_id=VISITOR), event(anonymous_id=OTHER, session_id=VISITOR)]
    assert lines(rows, columns=["anonymous_id", "session_id"])[-2:] == [
        f"#1={VISITOR},a-1-1",
        f"{OTHER},#1",
    ]


def test_id_cannot_look_like_a_number_of_another(event):
    ids = [VISITOR, VISITOR, "#1", f"#1={OTHER}", f"#1={OTHER}"]
    rows = [event(anonymous_id=value) for value in ids]
    assert lines(rows, columns=["who"])[-5:] == [
        f"#1={VISITOR}",
        "#1",
        '"#1"',
        f'#2="#1={OTHER}"',
        "#2",
    ]


PROPERTIES = [
    # a property's value and its cell
    ("pro", "pro"),
    ("Zürich 😀", "Zürich 😀"),
    ("", '""'),
    (" pad", '" pad"'),
    ("a, b", '"a, b"'),
    ('say "x"', r'"say \"x\""'),
    ("a\nb\u202e", r'"a\nb\u202e"'),
    (r"a\nb", r'"a\\nb"'),
    ("42", '"42"'),
    ("-1.5e3", '"-1.5e3"'),
    ("true", '"true"'),
    ("null", '"null"'),
    ("[x", '"[x"'),
    ("{x", '"{x"'),
    ("#1", '"#1"'),
    ("facebook: 100 % paid (9 of 9 events)", '"facebook: 100 % paid (9 of 9 events)"'),
    ("Every row: source=google.", '"Every row: source=google."'),
    ("384x824", "384x824"),
    (42, "42"),
    (1.5, "1.5"),
    (10**30, str(10**30)),
    (True, "true"),
    (None, "null"),
]


@pytest.mark.parametrize(("value", "cell"), PROPERTIES)
def test_property_of_many_events_is_a_column(value, cell, event):
    values = [value, "other", "third"]
    rows = [event(properties=json.dumps({"p": each})) for each in values]
    assert lines(rows, columns=["event_name", "properties"])[-4:] == [
        "event_name,properties.p",
        f"signup,{cell}",
        "signup,other",
        "signup,third",
    ]


def test_properties_of_few_events_share_the_last_column(event):
    objects = [{"a": 1, "x": [1, 2]}, {"a": 2}, {"a": 3, "y": "z"}, {"b": 1}, {}]
    rows = [event(properties=json.dumps(value, separators=(",", ":"))) for value in objects]
    assert lines(rows, columns=["event_name", "properties"])[-6:] == [
        "event_name,properties.a,other properties",
        'signup,1,{"x":[1,2]}',
        "signup,2,",
        'signup,3,{"y":"z"}',
        'signup,,{"b":1}',
        "signup,,",
    ]


NOT_OBJECTS = {
    "not JSON": "planted",
    "cut JSON": '{"a":',
    "a list": "[1]",
    "deep nesting": '{"a":' * 2000,
}


@pytest.mark.parametrize("text", NOT_OBJECTS.values(), ids=NOT_OBJECTS.keys())
def test_properties_stay_whole_in_the_last_column_if_they_are_no_object(text, event):
    rows = [event(properties=text), *[event(properties=f'{{"a":{n}}}') for n in range(5)]]
    shown = render(rows, columns=["properties"], max_cell_chars=20_000).text
    assert shown.splitlines()[-7:] == [
        "properties.a,other properties",
        f",{text}",
        *[f"{n}," for n in range(5)],
    ]


@pytest.mark.parametrize("text", NOT_OBJECTS.values(), ids=NOT_OBJECTS.keys())
def test_properties_are_one_column_if_none_is_an_object(text, event):
    rows = [event(properties=text), event(), event(properties=text)]
    shown = render(rows, columns=["properties"], max_cell_chars=20_000).text
    assert shown.splitlines()[-4:] == ["properties", text, "", text]


@pytest.mark.parametrize("key", ["a b", "a,b", "a\nb", "", "x" * 41, "ключ", '"', "1"])
def test_key_with_special_characters_is_never_a_column(key, event):
    rows = [event(properties=json.dumps({key: n})) for n in range(5)]
    assert lines(rows, columns=["properties"])[1] == "properties"


def test_property_columns_are_at_most_12(event):
    rows = [event(properties=json.dumps({f"p{n}": row for n in range(20)})) for row in range(5)]
    header, first = lines(rows, columns=["properties"])[1:3]
    assert header.split(",")[11:] == ["properties.p11", "other properties"]
    assert first == "0," * 12 + json.dumps({f"p{n}": 0 for n in range(12, 20)}).replace(" ", "")


def test_columns_have_a_fixed_order_and_stand_once():
    asked = ["properties", "path", "who", "path", "timestamp"]
    assert order_columns(asked) == ("timestamp", "path", "who", "properties")


def test_every_column_can_be_shown(event):
    row = event()
    for name in EVENT_COLUMNS:
        assert lines([row], columns=[name])[1] == name
    assert set(present_event(row, EVENT_COLUMNS)) == set(EVENT_COLUMNS)


def test_long_values_are_cut_and_marked(event):
    row = event(path="/" + "x" * 500, properties='{"a":"' + "y" * 500 + '"}')
    (line,) = lines([row], columns=["path", "properties"], max_cell_chars=10)[2:]
    assert line == '/xxxxxxxxx…[+491],{"a":"yyyy…[+498]'
    assert present_event(row, ["path"], max_cell_chars=10) == {"path": "/xxxxxxxxx…[+491]"}
    rows = [event(properties=json.dumps({"a": f"{n}" * 500})) for n in "abc"]
    assert lines(rows, columns=["properties"], max_cell_chars=10)[-1] == "cccccccccc…[+490]"


def test_structured_content_has_the_chosen_columns_and_whole_properties(event):
    row = event(user_id="u", properties='{"a":"\u202e"}', country="")
    assert present_event(row, ["who", "country", "campaign", "properties"]) == {
        "who": "user:u",
        "country": "",
        "campaign": None,
        "properties": r'{"a":"\u202e"}',
    }


def test_no_events_give_a_header_only():
    assert lines([]) == [
        "Receipt.",
        "timestamp,event_name,who,source,medium,country,path,properties",
    ]


def test_rows_that_do_not_fit_are_left_out_with_their_dates(event):
    rows = [event(timestamp=f"2026-05-{28 - n:02d}T19:00:00.000Z", path=f"/{n}") for n in range(28)]
    rendered = render(rows, columns=["timestamp", "path"], max_chars=400)
    assert len(rendered.text) <= 400
    shown = rendered.text.splitlines()[3:]
    assert len(shown) == 2 * rendered.shown
    assert rendered.left_out == 28 - rendered.shown > 0


# --- Brief lists: more than 25 events in the default columns -----------------------------------

NOTE = "… marks cut values. To get them whole, name fields: "


def list_events(event, number, **fields):
    return [event(anonymous_id=f"{VISITOR}-{at}", **fields) for at in range(number)]


LONG = {
    "event_name": "e" * 40,
    "source": "s" * 40,
    "medium": "m" * 40,
    "path": "/" + "p" * 40,
}


def test_brief_list_cuts_values_but_ids_and_names_the_columns(event):
    text = render(list_events(event, 26, **LONG)).text
    fields = '["timestamp","event_name","source","medium","path"]'
    assert f"{NOTE}{fields}." in text.splitlines()
    assert f"19:00:00,{'e' * 23}…,{VISITOR}-7,{'s' * 23}…,{'m' * 15}…,/{'p' * 22}…" in text


def test_list_of_25_events_is_not_brief(event):
    text = render(list_events(event, 25, **LONG)).text
    assert "…" not in text
    assert LONG["path"] in text


def test_list_of_named_fields_is_not_brief(event):
    rows = list_events(event, 26, path="/" + "x" * 100)
    assert "…" not in render(rows, columns=DEFAULT_EVENT_COLUMNS).text


def test_brief_list_shows_two_property_columns_and_marks_other_properties(event):
    rows = [
        event(
            anonymous_id=f"v{at}",
            properties=json.dumps({"plan": f"{at} professional", "n": 1234567890123 + at, "x": []})
            if at
            else "{}",
        )
        for at in range(26)
    ]
    note, _, header, _, first, second = lines(rows)[1:7]
    assert note == f'{NOTE}["timestamp","properties"].'
    assert header == "timestamp,who,properties.plan,properties.n,other properties"
    assert first == "19:00:00,v0,,,"
    assert second == "19:00:00,v1,1 profess…,1234567890124,…"


def test_brief_list_cuts_properties_without_common_keys(event):
    rows = [event(properties=json.dumps({"cart": {"total": at, "n": 1234}})) for at in range(26)]
    assert lines(rows)[-1] == '19:00:00,{"cart":{"total":25,"n"…'


def test_brief_list_has_no_milliseconds(event):
    rows = [event(timestamp="2026-05-16T19:00:00.123Z"), event(timestamp="2026-05-16 noon")] * 13
    text = render(rows).text
    assert "\n19:00:00\n" in text
    assert "\n2026-05-16 noon\n" in text


def test_brief_list_without_long_values_has_no_note(event):
    rows = [event(anonymous_id=f"v{at}", properties=f'{{"n":{at}}}') for at in range(26)]
    assert "…" not in render(rows).text


# --- Reading back ---------------------------------------------------------------------------

hostile = st.text(st.characters(), max_size=12)
names = st.sampled_from(["a", "b", "plan", "c d", "#1", "x"])
scalars = st.one_of(
    hostile,
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
)
objects = st.dictionaries(names, st.one_of(scalars, st.lists(scalars, max_size=2)), max_size=4)
ids = st.one_of(st.sampled_from([VISITOR, OTHER, "#1", f"#2={VISITOR}", "user:x"]), hostile)
events = st.lists(
    st.builds(
        lambda **fields: fields,
        timestamp=st.datetimes().map(
            lambda at: f"2026-{at:%m-%d}T{at:%H:%M:%S}.{at.microsecond // 1000:03d}Z"
        ),
        event_name=hostile,
        anonymous_id=ids,
        user_id=st.none() | ids.filter(bool),
        path=st.none() | hostile,
        properties=objects.map(lambda value: json.dumps(value, separators=(",", ":"))),
    ),
    max_size=12,
)
SHARED_EVENT = {
    "timestamp": "2026-05-16T19:00:00.000Z",
    "event_name": "signup",
    "anonymous_id": VISITOR,
    "user_id": None,
    "path": None,
    "properties": '{"a b":"one, two; three"}',
}
COLUMNS = ("timestamp", "event_name", "anonymous_id", "user_id", "path", "properties")


JSON_TEXT = r'"(?:[^"\\]|\\.)*"'
CSV_TEXT = r'(?:#\d+=)?"(?:[^"]|"")*"'
WHOLE = ("properties", "other properties")


class Reader:
    """Reads rendered events back from the text alone."""

    def __init__(self, text):
        receipt, *self.lines = text.split("\n")
        assert receipt == "Receipt."
        self.shared, self.ids, self.date = {}, {}, ""
        if self.lines[0].startswith("Every row: "):
            self._read_shared(self.lines.pop(0).removeprefix("Every row: ")[:-1])
        if self.lines[0].startswith("#1=ID"):
            self.lines.pop(0)
        self.names = self.lines.pop(0).split(",")

    def _read_shared(self, text):
        while text and not text.startswith("no "):
            name, _, text = text.partition("=")
            cell, text = self._take(name, text, r",(?= )|;")
            self.shared[name] = self._value(name, cell)
            text = re.sub(r"^[,;] ", "", text)
        self.shared |= {name: None for name in text.removeprefix("no ").split(", ") if text}

    def _take(self, name, text, end=","):
        if name in WHOLE:
            end_of_object = json.JSONDecoder().raw_decode(text)[1]
            return text[:end_of_object], text[end_of_object:]
        quoted = JSON_TEXT if name.startswith("properties.") else CSV_TEXT
        if match := re.match(quoted, text):
            return match[0], text[match.end() :]
        cell = re.split(end, text, maxsplit=1)[0]
        return cell, text[len(cell) :]

    def _value(self, name, cell):
        if name in WHOLE:
            return cell or "{}"
        return self._property(cell) if name.startswith("properties.") else self._text(cell)

    def _property(self, cell):
        if not cell:
            return None
        try:
            return (json.loads(cell),)
        except ValueError:
            return (cell,)

    def _text(self, cell):
        if match := re.match(r"#(\d+)=(.*)", cell):
            return self.ids.setdefault(match[1], self._text(match[2]))
        if cell.startswith("#"):
            return self.ids[cell[1:]]
        return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell

    def rows(self):
        for line in self.lines:
            if re.fullmatch(r"\d{4}-\d\d-\d\d", line):
                self.date = line
                continue
            row, rest = dict(self.shared), line
            for at, name in enumerate(self.names):
                if at:
                    assert rest.startswith(",")
                    rest = rest[1:]
                cell, rest = (rest, "") if name in WHOLE else self._take(name, rest)
                row[name] = self._value(name, cell)
            assert rest == ""
            yield self._event(row)

    def _event(self, row):
        whole = [row.pop(name, None) for name in WHOLE]
        properties = json.loads(next(filter(None, whole), "{}"))
        for name in [name for name in row if name.startswith("properties.")]:
            value = row.pop(name)
            if value is not None:
                properties[name.removeprefix("properties.")] = value[0]
        time = row["timestamp"]
        row["timestamp"] = f"{self.date}T{time if '.' in time else f'{time}.000'}Z"
        return {name: value or "" for name, value in row.items()} | {"properties": properties}


@settings(max_examples=400, deadline=None)
@given(events)
@example([SHARED_EVENT] * 3)
@example([{**SHARED_EVENT, "properties": '{"a":"Infinity","b":"NaN"}'}] * 5)
def test_events_can_be_read_back_from_their_text(fields):
    rows = [EventRow.model_construct(**field) for field in fields]
    text = render(rows, columns=COLUMNS, max_cell_chars=100_000).text
    expected = [
        {name: escape_invisible(field[name] or "") for name in COLUMNS}
        | {"properties": json.loads(field["properties"])}
        for field in fields
    ]
    assert list(Reader(text).rows()) == expected


@settings(max_examples=200, deadline=None)
@given(events, st.integers(1000, 3000))
def test_text_has_no_invisible_characters_and_keeps_to_its_size(fields, max_chars):
    rows = [EventRow.model_construct(**field) for field in fields]
    rendered = render(rows, columns=COLUMNS, max_chars=max_chars)
    assert len(rendered.text) <= max_chars
    found = {unicodedata.category(char) for char in rendered.text.replace("\n", "")}
    assert not found & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    dates = sum(1 for line in rendered.text.split("\n") if re.fullmatch(r"\d{4}-\d\d-\d\d", line))
    notes = sum(
        line.startswith(("Every row", "#1=ID", "These are")) for line in rendered.text.split("\n")
    )
    assert rendered.text.count("\n") <= 1 + notes + dates + rendered.shown
    assert rendered.shown + rendered.left_out == len(rows)
