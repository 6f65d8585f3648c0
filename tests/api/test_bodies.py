"""Request bodies and query strings: what is accepted, and what is stored of it."""

import asyncio
import gzip
import json
import threading
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest

from millimetric_mcp.contract.reads import GroupColumn

MAX_BODY_BYTES = 10 * 1024 * 1024
DEADLOCK_S = 60
JSON = {"Content-Type": "application/json"}
GZIP = JSON | {"Content-Encoding": "gzip"}
PING = b'{"event":"ping"}'


async def track(api, content: Any, headers: Mapping[str, Any] = JSON):
    bearer = {"Authorization": f"Bearer {api.keys['sk']}"}
    return await api.http.post("/v1/track", content=content, headers=bearer | headers)


def read_refusal(answer) -> tuple[str | None, list[str]]:
    """Returns the error code, and the fields it names (``*`` for the whole)."""
    body = answer.json()
    details = body.get("details", {"fieldErrors": {}, "formErrors": []})
    return body.get("error"), [*details["fieldErrors"], *("*" for _ in details["formErrors"])]


MEDIA_TYPES = {
    "application/json": 202,
    "application/json; charset=utf-8": 202,
    "Application/JSON;charset=UTF-8": 202,
    'application/json; charset="utf-8"': 202,
    "application/json;": 202,
    "application/json; charset=utf-8;": 202,
    "application/json; charset = UTF-8 ; odata=none": 202,
    "application/json; boundary=x": 202,
    "application/json; x=y; charset=utf-16": 415,
    "application/json; charset=": 415,
    "application/json; charset=us-ascii": 415,
    "application/json, application/json": 415,
    "application/json; charset=latin-1": 415,
    "application/json; charset=utf-16": 415,
    "application/json-seq": 415,
    "application/ld+json": 415,
    "text/json": 415,
    "text/plain": 415,
    "application/x-www-form-urlencoded": 415,
    "multipart/form-data; boundary=x": 415,
    "": 415,
    "*/*": 415,
    ";": 415,
}


async def test_only_json_in_utf_8_is_accepted(quick_api):
    answers = {name: await track(quick_api, PING, {"Content-Type": name}) for name in MEDIA_TYPES}

    assert {name: answer.status_code for name, answer in answers.items()} == MEDIA_TYPES


async def test_a_body_without_a_media_type_is_refused(quick_api):
    answer = await track(quick_api, PING, {})

    assert read_refusal(answer) == ("unsupported_media_type", [])


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
async def test_gzip_is_accepted_under_each_of_its_names(quick_api, encoding):
    answer = await track(quick_api, gzip.compress(PING), JSON | {"Content-Encoding": encoding})

    assert answer.status_code == 202


@pytest.mark.parametrize("encoding", ["identity", ""])
async def test_a_plain_body_may_declare_no_encoding(quick_api, encoding):
    answer = await track(quick_api, PING, JSON | {"Content-Encoding": encoding})

    assert answer.status_code == 202


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "x"])
async def test_an_encoding_other_than_gzip_is_refused(quick_api, encoding):
    answer = await track(quick_api, PING, JSON | {"Content-Encoding": encoding})

    assert read_refusal(answer) == ("unsupported_media_type", [])


@pytest.mark.parametrize(
    ("content", "named"),
    [
        pytest.param(b"", "*", id="nothing"),
        pytest.param(b"{", "*", id="cut off"),
        pytest.param(b"{'event':'x'}", "*", id="single quotes"),
        pytest.param(b'{"event":"x",}', "*", id="comma at the end"),
        pytest.param(b'{"event":"x"} {}', "*", id="something behind"),
        pytest.param(b"// a comment\n" + PING, "*", id="comment"),
        pytest.param('{"event":"x"}'.encode("utf-16"), "*", id="utf-16"),
        pytest.param(b'{"event":"\xff"}', "*", id="not utf-8"),
        pytest.param(b'{"event":"\xed\xa0\x80"}', "*", id="surrogate in utf-8"),
        pytest.param(b'{"event":"a\nb"}', "*", id="raw control character"),
        pytest.param(b'{"event":"a\0b"}', "*", id="raw NUL"),
        pytest.param(b"[" * 9_000, "*", id="deep array"),
        pytest.param(b'{"a":' * 9_000, "*", id="deep object"),
        pytest.param(
            b'{"event":"x","properties":{"a":' + b"[" * 300 + b"]" * 300 + b"}}",
            "*",
            id="properties deeper than 200",
        ),
        pytest.param(
            b'{"event":"x","other":' + b"[" * 300 + b"]" * 300 + b"}", "*", id="deep unknown field"
        ),
        pytest.param(b'{"event":"x","properties":{"a":NaN}}', "properties", id="NaN"),
        pytest.param(b'{"event":"x","properties":{"a":[-Infinity]}}', "properties", id="Infinity"),
        pytest.param(b'{"event":"x","properties":{"a":1e}}', "*", id="exponent of nothing"),
        pytest.param(b'{"event":"x","properties":{"a":.5e1}}', "*", id="no digit before a dot"),
        pytest.param(b'{"event":"x","a":1e5,"b":NaN}', "*", id="NaN beside an exponent"),
        pytest.param(b'{"event":1e5}', "event", id="exponent for a text"),
        pytest.param(b"[1.5e3]", "*", id="array of an exponent"),
        pytest.param(b'{"event":"x","other":NaN}', "*", id="NaN in an unknown field"),
        pytest.param(b'{"event":"x","other":[[Infinity]]}', "*", id="Infinity in one"),
        pytest.param(b'{"event":"x","other":-Infinity}', "*", id="-Infinity in one"),
        pytest.param(b"NaN", "*", id="NaN alone"),
        pytest.param(
            b'{"event":"x","properties":{"a":' + b"9" * 5000 + b"}}",
            "*",
            id="a number of 5000 digits",
        ),
        pytest.param(b"[]", "*", id="array"),
        pytest.param(b"null", "*", id="null"),
        pytest.param(b'"x"', "*", id="string"),
        pytest.param(b"1", "*", id="number"),
    ],
)
async def test_a_body_without_a_json_object_is_refused(quick_api, content, named):
    answer = await track(quick_api, content)

    assert answer.status_code == 400
    assert read_refusal(answer) == ("invalid_payload", [named])
    assert quick_api.store.events == []


FIELDS = {
    "event": [None, "", 1, True, [], {}, "x" * 129, "é" * 129],
    "event_id": ["", 1, "x" * 129, "🦆" * 129],
    "anonymous_id": ["", 1.5, "x" * 129],
    "user_id": ["", 42, "x" * 257, "é" * 257],
    "session_id": ["", [], "x" * 129],
    "timestamp": [
        "",
        "now",
        1747422000,
        "1747422000",
        "2026-05-16",
        "2026-05-16T19:00:00",
        "2026-05-16 19:00",
        "2026-02-30T00:00:00Z",
        "2026-05-16T25:00:00Z",
        "2026-05-16T24:00:00Z",
        "2026-05-16T23:59:60Z",
        "2026-05-16T19:00:00+25:00",
        "2026-05-16T19:00:00 Europe/Berlin",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-01:00",
        "1969-12-31T23:59:59.999Z",
        "2026-05-17T19:30:00.001Z",
        "٢٠٢٦-05-16T19:00:00Z",
        True,
        {},
    ],
    "url": [
        "",
        "/cart",
        "shop.example/cart",
        "//shop.example/cart",
        "http:",
        "http://",
        "http:///cart",
        "https://?utm_source=x",
        "https://shop example/",
        "https://shop.example:99999/",
        "https://shop.example:port/",
        "https://[::1/",
        "https://<script>/",
        "1http://shop.example/",
        1,
        ["https://shop.example/"],
        "https://shop.example/" + "x" * 2028,
    ],
    "path": [1, [], "x" * 2049],
    "referrer": [1, {}, "x" * 2049, "🦆" * 2049],
    "properties": [
        [],
        "{}",
        1,
        True,
        {"a": "x" * 8185},
        {"é" * 4094: 1},
    ],
}


@pytest.mark.parametrize("field", FIELDS)
async def test_an_invalid_field_is_named(quick_api, field):
    for value in FIELDS[field]:
        event = {"event": "x"} | {field: value}

        alone = await quick_api.post("/v1/track", event)
        in_batch = await quick_api.post("/v1/batch", {"events": [{"event": "x"}, event]})

        assert read_refusal(alone) == ("invalid_payload", [field]), value
        assert read_refusal(in_batch) == ("invalid_payload", [f"events[1].{field}"]), value
    assert quick_api.store.events == []


OTHER_BODIES = [
    ("/v1/identify", {"anonymous_id": "a"}, ["user_id"]),
    ("/v1/identify", {"anonymous_id": None, "user_id": "u"}, ["anonymous_id"]),
    ("/v1/identify", {"anonymous_id": "a", "user_id": "u" * 257}, ["user_id"]),
    ("/v1/identify", {"anonymous_id": "a", "user_id": "u", "traits": []}, ["traits"]),
    (
        "/v1/identify",
        {"anonymous_id": "a", "user_id": "u", "traits": {"a": "x" * 8185}},
        ["traits"],
    ),
    ("/v1/forget", {"user_id": None}, ["user_id"]),
    ("/v1/forget", {"user_id": ""}, ["user_id"]),
    ("/v1/forget", {"user_id": 1}, ["user_id"]),
    ("/v1/forget", {"anonymous_id": ""}, ["anonymous_id"]),
    ("/v1/batch", {}, ["events"]),
    ("/v1/batch", {"events": []}, ["events"]),
    ("/v1/batch", {"events": None}, ["events"]),
    ("/v1/batch", {"events": {"0": {"event": "x"}}}, ["events"]),
    ("/v1/batch", {"events": [{"event": "x"}] * 1001}, ["events"]),
    ("/v1/batch", {"events": [{"event": "x"}, None]}, ["events[1]"]),
    ("/v1/batch", {"events": [[{"event": "x"}]]}, ["events[0]"]),
    ("/v1/batch", [{"event": "x"}], ["*"]),
]


async def test_identify_and_forget_name_invalid_fields(quick_api):
    for path, body, fields in OTHER_BODIES:
        answer = await quick_api.post(path, body)

        assert read_refusal(answer) == ("invalid_payload", fields), (path, body)


async def test_a_body_of_ten_mib_is_accepted_and_one_byte_more_is_not(quick_api):
    whole = PING.ljust(MAX_BODY_BYTES)

    assert (await track(quick_api, whole)).status_code == 202
    assert read_refusal(await track(quick_api, whole + b" ")) == ("payload_too_large", [])


async def test_a_chunked_body_is_refused_at_the_limit_before_its_end(quick_api):
    sent = 0

    async def chunks():
        nonlocal sent
        for _ in range(1000):
            sent += 1024 * 1024
            yield b" " * 1024 * 1024

    answer = await track(quick_api, chunks())

    assert read_refusal(answer) == ("payload_too_large", [])
    assert MAX_BODY_BYTES < sent < 13 * 1024 * 1024


@pytest.mark.parametrize("declared", [b"-1", b"x", b"\xb9", b"1" * 5000, b"", b" "])
async def test_an_invalid_content_length_is_ignored(quick_api, declared):
    async def chunks():
        yield PING

    answer = await track(quick_api, chunks(), JSON | {"Content-Length": declared})

    assert answer.status_code == 202


async def test_a_gzip_body_is_inflated(api):
    answer = await track(api, gzip.compress(b'{"event":"zipped","event_id":"z"}'), GZIP)

    assert answer.json() == {"ok": True, "event_id": "z"}
    assert [row["event_name"] for row in await api.rows("/v1/query")] == ["zipped"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(PING, id="not gzip"),
        pytest.param(gzip.compress(PING)[:-1], id="cut off in its checksum"),
        pytest.param(gzip.compress(PING)[:12], id="cut off"),
        pytest.param(gzip.compress(PING)[:-8] + b"\0" * 8, id="wrong checksum"),
        pytest.param(gzip.compress(PING) + b"x", id="something behind"),
        pytest.param(gzip.compress(PING) + b"\0" * 8 + b"x", id="something behind zeros"),
        pytest.param(gzip.compress(PING) + gzip.compress(b" ")[:-1], id="second member cut off"),
        pytest.param(gzip.compress(PING) + gzip.compress(b"") * 100, id="101 members"),
    ],
)
async def test_an_incomplete_gzip_body_is_refused(quick_api, content):
    answer = await track(quick_api, content, GZIP)

    assert read_refusal(answer) == ("invalid_payload", ["*"])
    assert quick_api.store.events == []


async def test_several_gzip_members_are_one_body(quick_api):
    members = [gzip.compress(part) for part in (b'{"ev', b"", b'ent":"x",', b'"event_id":"whole"}')]

    answer = await track(quick_api, b"".join(members), GZIP)

    assert answer.json() == {"ok": True, "event_id": "whole"}


async def test_zeros_after_gzip_are_ignored(quick_api):
    assert (await track(quick_api, gzip.compress(PING) + b"\0" * 8, GZIP)).is_success


async def test_gzip_members_together_inflate_to_ten_mib_at_most(quick_api):
    half = MAX_BODY_BYTES // 2
    first = gzip.compress(PING.ljust(half), compresslevel=1)

    taken = await track(quick_api, first + gzip.compress(b" " * half, compresslevel=1), GZIP)
    refused = await track(quick_api, first + gzip.compress(b" " * (half + 1)), GZIP)

    assert taken.status_code == 202
    assert read_refusal(refused) == ("payload_too_large", [])


async def test_a_gzip_bomb_is_not_inflated_beyond_the_limit(quick_api):
    bomb = gzip.compress(b" " * (60 * 1024 * 1024), compresslevel=1)

    tracemalloc.start()
    answer = await track(quick_api, bomb, GZIP)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert read_refusal(answer) == ("payload_too_large", [])
    assert peak_bytes < 3 * MAX_BODY_BYTES


async def test_many_gzip_bodies_at_once_are_inflated_one_after_another(quick_api):
    zipped = gzip.compress(PING.ljust(MAX_BODY_BYTES))

    tracemalloc.start()
    answers = await asyncio.gather(*[track(quick_api, zipped, GZIP) for _ in range(20)])
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert {answer.status_code for answer in answers} == {202}
    assert peak_bytes < 4 * MAX_BODY_BYTES  # side by side they take 5


async def test_a_gzip_body_may_inflate_to_ten_mib(quick_api):
    assert (await track(quick_api, gzip.compress(PING.ljust(MAX_BODY_BYTES)), GZIP)).is_success


VALUES = {
    # how many values are taken, how many refused, and each one
    "small body": (9_000, 16_000, b"1"),
    "large body of short values": (55_000, 70_000, b'"12"'),
    "large body of long values": (290_000, 310_000, b'"%s"' % (b"x" * 20)),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("headers", [JSON, GZIP], ids=["plain", "gzip"])
async def test_a_body_of_more_json_values_than_allowed_is_refused(quick_api, headers, kind):
    taken_count, refused_count, value = VALUES[kind]

    def write(count: int) -> bytes:
        body = b'{"event":"x","other":[%s]}' % b",".join([value] * count)
        return gzip.compress(body) if headers is GZIP else body

    taken = await track(quick_api, write(taken_count), headers)
    refused = await track(quick_api, write(refused_count), headers)

    assert taken.status_code == 202
    assert read_refusal(refused) == ("payload_too_large", [])


async def test_a_large_batch_with_many_values_is_stored_completely(api):
    numbers = [0, 1.5, -3, 12345678901234567890] * 70
    event = {"event": "x", "timestamp": "2026-05-16T19:00:00Z", "properties": {"a": numbers}}

    answer = await api.post("/v1/batch", {"events": [event] * 1000})

    assert answer.json() == {"ok": True, "count": 1000}
    rows = await api.rows("/v1/query", {"limit": 1000})
    assert len(rows) == 1000
    assert {row["properties"] for row in rows} == {
        json.dumps(event["properties"], separators=(",", ":"))
    }


async def test_bodies_in_memory_have_a_common_limit(quick_api):
    may_end = asyncio.Event()

    async def upload():
        yield b" " * (MAX_BODY_BYTES - len(PING))
        await may_end.wait()
        yield PING

    uploads = [asyncio.create_task(track(quick_api, upload())) for _ in range(8)]
    await asyncio.sleep(0.2)

    refused = await track(quick_api, PING.ljust(MAX_BODY_BYTES))
    may_end.set()
    taken = await asyncio.gather(*uploads)
    again = await track(quick_api, PING.ljust(MAX_BODY_BYTES))

    assert (refused.status_code, refused.json()["error"]) == (503, "upstream_failed")
    assert refused.headers["Retry-After"] == "1"
    assert {answer.status_code for answer in (again, *taken)} == {202}


async def test_a_large_body_is_parsed_while_deletions_wait_for_the_database(quick_api):
    may_end = threading.Event()
    waiting = [asyncio.create_task(asyncio.to_thread(may_end.wait, DEADLOCK_S)) for _ in range(50)]
    await asyncio.sleep(0)

    async with asyncio.timeout(DEADLOCK_S / 2):
        answer = await track(quick_api, PING.ljust(1024 * 1024))
    may_end.set()

    assert answer.status_code == 202
    await asyncio.gather(*waiting)


async def test_a_large_body_is_dropped_when_its_sender_has_left(quick_api):
    messages = [
        {"type": "http.request", "body": PING.ljust(1024 * 1024)},
        {"type": "http.disconnect"},
    ]
    headers = JSON | {"Authorization": f"Bearer {quick_api.keys['sk']}"}
    answers = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        answers.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/track",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    await quick_api.app(scope, receive, send)

    assert (quick_api.store.events, answers) == ([], [])


async def test_values_of_the_longest_length_are_returned_unchanged(api):
    sent = {
        "event": "é" * 128,
        "event_id": "🦆" * 128,
        "anonymous_id": "中" * 128,
        "user_id": "ß" * 256,
        "session_id": "\U0010ffff" * 128,
        "url": "https://shop.example/" + "é" * 2027,
        "path": "/" + "🦆" * 2047,
        "referrer": "é" * 2048,
        "properties": {"a": "é" * 4092},
    }
    assert len(json.dumps(sent["properties"], ensure_ascii=False, separators=(",", ":"))) == 4100

    answer = await api.post("/v1/track", sent)

    assert answer.status_code == 202, answer.text
    [row] = await api.rows("/v1/query")
    stored = {name: row[name] for name in sent if name not in {"event", "properties"}}
    assert stored == {name: sent[name] for name in stored}
    assert row["event_name"] == sent["event"]
    assert json.loads(row["properties"]) == sent["properties"]


async def test_unusual_text_is_stored_unchanged(api):
    odd = "\0 \x01\x7f\u2028\ufffe\uffff\U0001f986\u202eabc '\"`\\\t\r\n;--/**/{}%s$1 <script>"
    sent = {"event": odd, "event_id": odd, "anonymous_id": odd, "user_id": odd, "session_id": odd}
    sent |= {"path": odd, "referrer": odd, "properties": {odd: [odd]}}

    answer = await api.post("/v1/track", sent)

    assert answer.json() == {"ok": True, "event_id": odd}
    [row] = await api.rows("/v1/query", {"event": odd, "user_id": odd, "anonymous_id": odd})
    assert [row[name] for name in ("event_name", "event_id", "path", "referrer")] == [odd] * 4
    assert json.loads(row["properties"]) == {odd: [odd]}


async def test_a_pair_of_surrogates_is_one_character(api):
    await track(api, b'{"event":"x","event_id":"\\ud83e\\udd86"}')

    [row] = await api.rows("/v1/query")
    assert row["event_id"] == "🦆"


HALF_EMOJI = {
    # of each: the JSON text, and what is stored
    "first half": (rb"hi \ud83d", "hi \ufffd"),
    "second half": (rb"\uDE00 hi", "\ufffd hi"),
    "two first halves": (rb"\ud83d\ud83d\ude00", "\ufffd😀"),
    "wrong order": (rb"\ude00\ud83d", "\ufffd\ufffd"),
    "before other escapes": (rb"\ud83d\u0041\n", "\ufffdA\n"),
    "a backslash and letters": (rb"\\ud83d", r"\ud83d"),
    "two backslashes and a half": (rb"\\\\\ud83d", "\\\\\ufffd"),
}


@pytest.mark.parametrize(("text", "stored"), HALF_EMOJI.values(), ids=HALF_EMOJI)
async def test_half_an_emoji_becomes_a_replacement_character(api, text, stored):
    """In a text, in a property, in a property's name; the other event is not affected."""
    event = b'{"event":"%b","user_id":"%b","properties":{"%b":"%b"}}' % ((text,) * 4)
    body = b'{"events":[{"event":"other"},' + event + b"]}"

    answer = await api.http.post(
        "/v1/batch", content=body, headers=JSON | {"Authorization": f"Bearer {api.keys['sk']}"}
    )

    assert (answer.status_code, answer.json()["count"]) == (202, 2)
    [row] = await api.rows("/v1/query", {"event": stored})
    assert row["user_id"] == stored
    assert json.loads(row["properties"]) == {stored: stored}


async def test_half_an_emoji_in_traits_becomes_a_replacement_character(api):
    body = rb'{"anonymous_id":"a","user_id":"u\ud83d","traits":{"a":"\ud83d"}}'

    answer = await api.http.post(
        "/v1/identify", content=body, headers=JSON | {"Authorization": f"Bearer {api.keys['sk']}"}
    )

    assert answer.status_code == 200
    [row] = await api.rows("/v1/query")
    assert (row["user_id"], row["properties"]) == ("u\ufffd", '{"a":"\ufffd"}')


@pytest.mark.parametrize("encode", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("padding", [0, 300_000], ids=["small", "large"])
async def test_a_byte_order_mark_is_ignored(quick_api, encode, padding):
    body = encode(b"\xef\xbb\xbf" + PING + b" " * padding)

    answer = await track(quick_api, body, JSON if encode is bytes else GZIP)

    assert answer.status_code == 202


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
async def test_a_body_in_utf_16_is_named(quick_api, encoding):
    mark = "\ufeff" if encoding == "utf-16-be" else ""

    answer = await track(quick_api, (mark + PING.decode()).encode(encoding))

    assert answer.status_code == 400
    assert answer.json()["details"]["formErrors"] == ["The body is UTF-16. Send it as UTF-8."]


async def test_numbers_in_properties_keep_their_value(api):
    text = (
        '{"big":123456789012345678901234567890,"small":-9223372036854775809,'
        '"bool":true,"null":null,"float":0.1,"exp":1e+300,"zero":-0.0,"int":1}'
    )

    await track(api, b'{"event":"x","properties":' + text.encode() + b"}")

    [row] = await api.rows("/v1/query")
    assert row["properties"] == text


NUMBERS = {
    "99999999999999999999999999999999999999999999": "99999999999999999999999999999999999999999999",
    "0.1234567890123456789": "0.12345678901234568",
    "-3.14159265358979323846264338327950288": "-3.141592653589793",
    "12345678901234567890123.5": "1.2345678901234568e+22",
    "0.30000000000000004": "0.30000000000000004",
    "1E5": "100000.0",
    "-1E-400": "-0.0",
    "19.99": "19.99",
}


@pytest.mark.parametrize(("sent", "stored"), NUMBERS.items())
async def test_integers_are_stored_exactly_and_other_numbers_as_doubles(quick_api, sent, stored):
    form = '{"a":%s,"b":[%s,{"c":%s}]}'
    body = f'{{"event":"x","properties":{form % (sent, sent, sent)}}}'

    answer = await track(quick_api, body.encode())

    assert answer.is_success, answer.text
    assert [event.properties for event in quick_api.store.events] == [
        form % (stored, stored, stored)
    ]


async def test_a_number_larger_than_a_double_is_refused(quick_api):
    answer = await track(quick_api, b'{"event":"x","properties":{"a":1e400}}')

    assert read_refusal(answer) == ("invalid_payload", ["properties"])


async def test_the_last_of_repeated_fields_is_stored(api):
    await track(api, b'{"event":"a","event":"b","properties":{"x":1,"x":2}}')

    [row] = await api.rows("/v1/query")
    assert (row["event_name"], row["properties"]) == ("b", '{"x":2}')


async def test_texts_nan_and_infinity_are_stored_unchanged(api):
    await track(api, b'{"event":"NaN","properties":{"Infinity":"-Infinity"}}')

    [row] = await api.rows("/v1/query")
    assert (row["event_name"], row["properties"]) == ("NaN", '{"Infinity":"-Infinity"}')


async def test_null_is_an_absent_field(api):
    absent = ["event_id", "timestamp", "anonymous_id", "user_id", "session_id", "url", "path"]
    absent += ["referrer", "properties"]

    answer = await api.post("/v1/track", {"event": "x"} | dict.fromkeys(absent))

    assert answer.json() == {"ok": True, "event_id": None}
    [row] = await api.rows("/v1/query")
    assert row["timestamp"] == "2026-05-16T19:30:00.000Z"
    assert len(row["anonymous_id"]) == 36
    assert (row["url"], row["path"], row["referrer"], row["properties"]) == (None, None, None, "{}")


async def test_fields_of_the_server_are_ignored(api):
    made = {"project_id": 1, "source": "spoof", "medium": "paid", "ip_hash": "0", "browser": "x"}
    made |= {"received_at": "2000-01-01T00:00:00Z", "device_type": 1, "country": ["XX"]}

    await api.post("/v1/track", {"event": "x"} | made)

    [row] = await api.rows("/v1/query")
    assert (row["source"], row["medium"], row["country"]) == ("direct", "direct", "GB")


async def test_two_hundred_levels_of_properties_are_stored(api):
    properties = "[" * 190 + "]" * 190

    answer = await track(api, b'{"event":"x","properties":{"a":' + properties.encode() + b"}}")

    assert answer.status_code == 202
    [row] = await api.rows("/v1/query")
    assert row["properties"] == '{"a":' + properties + "}"


TIMES = {
    "2026-05-16T19:00:00Z": "2026-05-16T19:00:00.000Z",
    "2026-05-16t19:00:00z": "2026-05-16T19:00:00.000Z",
    "2026-05-16 19:00:00Z": "2026-05-16T19:00:00.000Z",
    "2026-05-16T19:00Z": "2026-05-16T19:00:00.000Z",
    "2026-05-16T19:00:00.1Z": "2026-05-16T19:00:00.100Z",
    "2026-05-16T19:00:00,1239999999Z": "2026-05-16T19:00:00.123Z",
    "2026-05-16T19:00:00.999999Z": "2026-05-16T19:00:00.999Z",
    "2026-05-16T21:00:00+02:00": "2026-05-16T19:00:00.000Z",
    "2026-05-16T21:00:00+0200": "2026-05-16T19:00:00.000Z",
    "2026-05-16T21:00:00+02": "2026-05-16T19:00:00.000Z",
    "2026-05-16T13:30:00-05:30": "2026-05-16T19:00:00.000Z",
    "2026-05-17T00:30:00+05:30": "2026-05-16T19:00:00.000Z",
    "1970-01-01T00:00:00Z": "1970-01-01T00:00:00.000Z",
    "1969-12-31T23:00:00-01:00": "1970-01-01T00:00:00.000Z",
    "2024-02-29T23:59:59.999Z": "2024-02-29T23:59:59.999Z",
    "2026-05-17T19:30:00.000Z": "2026-05-17T19:30:00.000Z",
}


async def test_timestamps_of_every_form_are_stored_in_utc_with_milliseconds(api):
    events = [{"event": "x", "event_id": str(n), "timestamp": t} for n, t in enumerate(TIMES)]

    answer = await api.post("/v1/batch", {"events": events})

    assert answer.status_code == 202, answer.text
    rows = await api.rows("/v1/query", {"from": "1970-01-01T00:00:00Z"})
    stored = {int(row["event_id"]): row["timestamp"] for row in rows}
    assert [stored[n] for n in range(len(TIMES))] == list(TIMES.values())


URLS = {
    "https://shop.example": "/",
    "https://shop.example/": "/",
    "HTTPS://SHOP.EXAMPLE/Cart": "/Cart",
    "http://shop.example:8080/a/b?x=/c#/d": "/a/b",
    "https://shop.example?utm_source=x/y": "/",
    "https://user:pw@shop.example/a b": "/a b",
    "https://[2001:db8::1]:443/v6": "/v6",
    "https://bücher.example/ä/🦆": "/ä/🦆",
    "https://xn--bcher-kva.example/%C3%A4": "/%C3%A4",
    "http://localhost/x": "/x",
    "file:///C:/index.html": "/C:/index.html",
    "app://screen/home": "/home",
    "mailto:me@shop.example": None,
    "about:blank": None,
    "https://shop.example//double": "//double",
    "https://shop.example/" + "x" * 2027: "/" + "x" * 2027,
}


async def test_absolute_urls_are_stored_as_sent_with_their_path(api):
    events = [{"event": "x", "event_id": str(n), "url": url} for n, url in enumerate(URLS)]

    answer = await api.post("/v1/batch", {"events": events})

    assert answer.status_code == 202, answer.text
    rows = sorted(await api.rows("/v1/query"), key=lambda row: int(row["event_id"]))
    assert {row["url"]: row["path"] for row in rows} == URLS


async def test_a_sent_path_is_stored_instead_of_the_url_s(api):
    await api.post("/v1/track", {"event": "x", "url": "https://a.example/u", "path": "sent"})

    [row] = await api.rows("/v1/query")
    assert row["path"] == "sent"


QUERIES = [
    ("/v1/stats", "limit=0", ["limit"]),
    ("/v1/stats", "limit=1001", ["limit"]),
    ("/v1/stats", "limit=-1", ["limit"]),
    ("/v1/stats", "limit=1.0", ["limit"]),
    ("/v1/stats", "limit=1e2", ["limit"]),
    ("/v1/stats", "limit=1_0", ["limit"]),
    ("/v1/stats", "limit=%2B5", ["limit"]),
    ("/v1/stats", "limit=+5", ["limit"]),
    ("/v1/stats", "limit=%D9%A5", ["limit"]),
    ("/v1/stats", "limit=99999999999999999999", ["limit"]),
    ("/v1/sources", "limit=201", ["limit"]),
    ("/v1/query", "limit=1001", ["limit"]),
    ("/v1/query", "limit=all", ["limit"]),
    ("/v1/sources", "breakdown=medium", ["breakdown"]),
    ("/v1/sources", "breakdown=SOURCE", ["breakdown"]),
    ("/v1/stats", "metric=total", ["metric"]),
    ("/v1/stats", "metric=sum", ["property"]),
    ("/v1/stats", "property=amount", ["property"]),
    ("/v1/stats", "interval=minute", ["interval"]),
    ("/v1/stats", "interval=day&interval=minute&metric=x&limit=0", ["metric", "limit"]),
    ("/v1/stats", "from=2026-05-01", ["from"]),
    ("/v1/stats", "from=2026-05-01T00:00:00", ["from"]),
    ("/v1/stats", "from=yesterday&to=today", ["from", "to"]),
    ("/v1/stats", "from=2026-05-01T00:00+02:00:00", ["from"]),
    ("/v1/query", "to=9999999999", ["to"]),
    ("/v1/query", "from=", ["from"]),
    ("/v1/sources", "limit=&breakdown=", ["breakdown", "limit"]),
    ("/v1/stats", "metric=&interval=&event=&limit=", ["event", "metric", "interval", "limit"]),
    ("/v1/query", "event=&source=&medium=", ["event", "source", "medium"]),
    ("/v1/query", "country=&user_id=&anonymous_id", ["country", "user_id", "anonymous_id"]),
    ("/v1/query", "from=2026-06-01T00:00:00.001Z", ["*"]),
]
WINDOW = "&from=2026-05-01T00:00:00Z&to=2026-06-01T00:00:00Z"


async def read(api, path: str, query: str):
    return await api.http.get(
        f"{path}?{query}{WINDOW}", headers={"Authorization": f"Bearer {api.keys['rk']}"}
    )


async def test_an_invalid_parameter_is_named(quick_api):
    for path, query, names in QUERIES:
        answer = await read(quick_api, path, query)

        assert answer.status_code == 400, query
        assert read_refusal(answer) == ("invalid_params", names), query


async def test_an_unknown_column_is_named_with_the_allowed_ones(quick_api):
    for columns in [
        "colour",
        "source,colour",
        "Source",
        "source;medium",
        "os%00",
        "value",
        "*",
        "",
        ",",
        "+",
    ]:
        answer = await read(quick_api, "/v1/stats", f"group_by={columns}&limit=0")

        assert read_refusal(answer) == ("invalid_group_by", ["group_by", "limit"]), columns
        assert answer.json()["details"]["allowed"] == list(GroupColumn)


LENIENT_QUERIES = [
    "group_by=source,,source&group_by=colour",
    "group_by=%20source%20,%20",
    "group_by=source&limit=1&limit=0",
    "group_by=source&limit=0001",
    "group_by=source&color=red&utm_source=x&limit[]=0&&=&%",
    "group%5Fby=source&metric=%63ount",
    "group_by=source&from=2026-05-01T02:00:00%2B02:00",
    "group_by=source&from=2026-05-01T02:00:00+02:00",
    "group_by=source&from=2026-05-01T02:00:00+0200",
    "group_by=source&from=2026-05-01T02%3A00%3A00%2b02",
    "group_by=source&from=2026-05-01+00:00:00Z",
    "group_by=source&from=0001-01-01T00:00:00Z",
    "group_by=source&from=1969-12-31T00:00:00-23:59",
]


async def test_lenient_forms_of_a_query_mean_the_same(api):
    await api.post("/v1/track", {"event": "x", "timestamp": "2026-05-01T00:00:00Z"})

    for query in LENIENT_QUERIES:
        answer = await read(api, "/v1/stats", query)

        row = {"source": "direct", "value": 1}
        assert (answer.status_code, answer.json()["rows"]) == (200, [row]), query


async def test_filters_are_decoded_and_compared_as_they_are(api):
    names = ["a b", "a+b", "a%20b", "A B", "a b ", "a'b", "a\\b", "é", "a\tb", "a\0b", "{event:x}"]
    await api.post("/v1/batch", {"events": [{"event": name} for name in names]})

    for name in names:
        assert await api.rows("/v1/stats", {"event": name}) == [{"value": 1}], name
        assert [row["event_name"] for row in await api.rows("/v1/query", {"event": name})] == [name]
    assert await api.rows("/v1/stats", {"event": "a"}) == [{"value": 0}]


@pytest.mark.parametrize(
    "asked",
    [
        {"group_by": "source", "attribution": "last_touch"},
        {"group_by": "source", "attribution": "session", "lookback_days": "365"},
        {"group_by": "landing_path"},
    ],
    ids=lambda asked: list(asked.values())[-1],
)
async def test_what_came_before_a_window_from_the_year_1_is_asked_too(api, asked):
    await api.post("/v1/track", {"event": "x"})

    window = {"from": "0001-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}

    [row] = await api.rows("/v1/stats", {**window, **asked})
    assert row["value"] == 1


async def test_a_window_to_the_year_9999_has_every_event(api):
    await api.post("/v1/track", {"event": "x"})

    window = {"from": "1970-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"}

    assert await api.rows("/v1/stats", window) == [{"value": 1}]
    assert len(await api.rows("/v1/query", window)) == 1
    assert len(await api.rows("/v1/sources", window)) == 1


async def test_very_long_paths_headers_and_queries_get_an_answer(quick_api):
    long = "x" * 60_000
    bearer = {"Authorization": f"Bearer {quick_api.keys['sk']}"} | JSON

    answers = [
        await quick_api.http.get("/v1/" + long),
        await quick_api.http.get("/" + "%2e%2e/" * 8000),
        await quick_api.http.post("/v1/track", content=PING, headers={"Authorization": long}),
        await quick_api.http.post(
            "/v1/track", content=PING, headers={"Authorization": f"Bearer {long}"}
        ),
        await quick_api.http.post(
            "/v1/track", content=PING, headers=bearer | {"User-Agent": long, "Origin": long}
        ),
        await read(quick_api, "/v1/query", f"event={long}"),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 401, 401, 202, 200]
