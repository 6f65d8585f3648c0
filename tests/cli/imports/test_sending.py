"""How a file's events are cut into requests that the API takes."""

import json

import pytest

from millimetric_mcp.api.ingest.validate import read_body
from millimetric_mcp.cli.imports.records import Item
from millimetric_mcp.cli.imports.sending import ImportCounts, Sender, check_part
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.events import MAX_BODY_BYTES
from millimetric_mcp.contract.imports import ImportRequest, ImportResult
from millimetric_mcp.contract.json_text import has_too_many_values
from millimetric_mcp.errors import ApiError, ImportFailed, RequestError

MOMENT = "2026-05-16T19:00:00Z"


class ApiDouble:
    """Takes the parts that the API takes, and keeps their events by number."""

    def __init__(self):
        self.parts = {}

    async def import_part(self, body):
        if len(body) > MAX_BODY_BYTES or has_too_many_values(body):
            raise ApiError(ErrorCode.PAYLOAD_TOO_LARGE, status=413)
        try:
            part = read_body(ImportRequest, body)
        except RequestError as error:
            raise ApiError(error.code, status=400) from None
        self.parts[part.chunk] = len(part.events)
        return ImportResult(ok=True, count=len(part.events), duplicate=False)


@pytest.fixture
def api():
    return ApiDouble()


@pytest.fixture
def send(api):
    """Sends events as one part; returns the counts and the reasons of rejected events."""

    async def send_events(events):
        counts, rejected = ImportCounts(), []
        items = [Item(place, event, b"") for place, event in enumerate(events, 1)]
        sender = Sender(api, "an-id", done=frozenset(), counts=counts, on_rejected=rejected.append)
        await sender.send([items], lambda: None)
        return counts, [(item.place, item.found.reason) for item in rejected]

    return send_events


def nest(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return {"a": value}


async def test_events_of_many_properties_are_sent_in_parts_that_the_api_takes(api, send):
    properties = {f"property_{number}": number for number in range(100)}
    events = [{"event": "e", "timestamp": MOMENT, "properties": properties}] * 5000

    counts, rejected = await send(events)

    assert (counts.stored, counts.events, rejected) == (5000, 5000, [])
    assert api.parts == {0: 2500, 1: 2500}


async def test_properties_of_many_short_values_are_sent_in_parts_that_the_api_takes(api, send):
    events = [{"event": "e", "timestamp": MOMENT, "properties": {"a": [1] * 60}}] * 2500

    counts, rejected = await send(events)

    assert (counts.stored, rejected) == (2500, [])
    assert len(api.parts) > 1


async def test_an_event_that_is_larger_than_a_request_is_rejected_alone(api, send):
    large = {"event": "e", "timestamp": MOMENT, "url": "https://x.example/" + "x" * MAX_BODY_BYTES}
    event = {"event": "e", "timestamp": MOMENT}

    counts, rejected = await send([event, large, event])

    assert rejected == [(2, "is larger than a request to the API")]
    assert (counts.stored, counts.rejected, sum(api.parts.values())) == (2, 1, 2)


@pytest.mark.parametrize(("levels", "is_taken"), [(190, True), (197, False), (198, False)])
async def test_an_event_that_nests_too_deep_for_a_request_is_rejected_alone(send, levels, is_taken):
    event = {"event": "e", "timestamp": MOMENT}
    deep = json.loads(json.dumps({**event, "properties": nest(levels)}))

    counts, rejected = await send([event, deep, event])

    reason = "properties: nest too many objects and lists"
    assert rejected == ([] if is_taken else [(2, reason)])
    assert counts.stored == 2 + is_taken
    counts, tried = ImportCounts(), []
    check_part([Item(1, deep, b"")], counts, tried.append)
    assert counts.rejected == (not is_taken)


async def test_the_error_of_a_part_is_raised_without_the_group_that_holds_it(api, send):
    async def refuse(_body):
        raise ApiError(ErrorCode.INVALID_API_KEY, status=401)

    api.import_part = refuse

    with pytest.raises(ApiError) as raised:
        await send([{"event": "e", "timestamp": MOMENT}])
    assert raised.value.__context__ is None


async def test_a_part_that_only_the_api_finds_wrong_is_named_by_its_records(api, send):
    async def refuse(_body):
        raise ApiError(ErrorCode.INVALID_PAYLOAD, status=400)

    api.import_part = refuse

    with pytest.raises(ImportFailed, match=r"refuses a part from record 1 to 2, .* same version"):
        await send([{"event": "e", "timestamp": MOMENT}] * 2)
