"""Follow-up questions that fail: the result stands, and says what is unknown."""

import time

import anyio
import httpx
import pytest
from mcp_types import PromptReference

from millimetric_mcp.contract.reads import SourcesParams

UNANSWERED = "the API did not answer a follow-up question"
TIMEOUT_S = 0.6
SLACK_S = 0.5

QUESTIONS = {
    "top_sources": ("top_sources", {}),
    "top_sources of a source": ("top_sources", {"source": "tiktok"}),
    "stats": ("stats", {}),
    "stats of an event": ("stats", {"event": "sign_up"}),
    "raw_events": ("raw_events", {}),
    "raw_events of an event": ("raw_events", {"event": "sign_up"}),
    "raw_events of a source": ("raw_events", {"source": "tiktok"}),
}
EMPTY_WINDOW = {"from": "2026-01-01", "to": "2026-02-01"}
LATE_WINDOW = {"from": "2026-05-01", "to": "2026-05-17"}


async def answer_500(_answer):
    return httpx.Response(500, json={"error": "internal_error"})


async def answer_429(_answer):
    return httpx.Response(429, json={"error": "rate_limited", "retry_after_s": 1})


async def stall(_answer):
    await anyio.sleep(TIMEOUT_S * 5)
    return httpx.Response(500)


FAULTS = {"500": answer_500, "429": answer_429, "timeout": stall}


class FailingFrom:
    """The fake API, whose every answer from a request on is a fault."""

    def __init__(self, api, *, first, fault) -> None:
        self.api, self.first, self.fault = api, first, fault
        self.asked = 0
        self.has_failed = False

    async def __call__(self, request):
        self.asked += 1
        if self.asked < self.first:
            return self.api(request)
        self.has_failed = True
        return await self.fault(request)


@pytest.fixture
def known(api, source, event_row):
    """A project with events in May 2026 only, and none that a question here asks for."""

    def stats(params):
        if params["to"] < "2026-05-01":
            return []
        if params.get("group_by") == "event_name":
            return [{"event_name": "signup", "value": 9}]
        if params.get("interval") == "month":
            return [{"bucket": "2026-05-01T00:00:00.000Z", "value": 9}]
        return []

    api.stats = stats
    api.events = [event_row(timestamp="2026-05-02T10:00:00.000Z")]
    api.sources = [source("facebook", "paid", 9)]

    def sources(request):
        if request.url.params["to"] < "2026-05-01":
            body = {"breakdown": request.url.params["breakdown"], "rows": []}
            return api.respond(SourcesParams, request, body)
        return api.sources_(request)

    api.rules["/v1/sources"] = sources
    return api


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("first", [2, 3, 4])
@pytest.mark.parametrize(
    "window", [pytest.param(EMPTY_WINDOW, id="empty"), pytest.param(LATE_WINDOW, id="late")]
)
@pytest.mark.parametrize("question", QUESTIONS)
async def test_an_unanswered_follow_up_is_never_reported_as_nothing(
    question, window, first, fault, known, call
):
    tool, arguments = QUESTIONS[question]
    failing = FailingFrom(known, first=first, fault=FAULTS[fault])
    outcome = await call(
        tool,
        arguments | window,
        transport=httpx.MockTransport(failing),
        timeout_s=TIMEOUT_S,
    )
    assert not outcome.is_error
    assert "no events at all" not in outcome.text
    assert (UNANSWERED in outcome.text) == failing.has_failed
    if failing.has_failed:
        sentences = [*outcome.data.get("notes", []), *outcome.data.get("splits", [])]
        (unknown,) = [sentence for sentence in sentences if UNANSWERED in sentence]
        assert unknown in {
            f"The reason is unknown: {UNANSWERED}.",
            f"What proves these paid events is unknown: {UNANSWERED}.",
        }


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_unanswered_split_is_reported_as_unknown(fault, known, call):
    failing = FailingFrom(known, first=2, fault=FAULTS[fault])
    outcome = await call(
        "top_sources",
        LATE_WINDOW | {"breakdown": "source"},
        transport=httpx.MockTransport(failing),
        timeout_s=TIMEOUT_S,
    )
    assert len(outcome.data["rows"]) == 1
    assert outcome.data["splits"] == [f'How much of "facebook" is paid is unknown: {UNANSWERED}.']


@pytest.mark.parametrize("question", QUESTIONS)
async def test_slow_follow_up_questions_share_a_small_part_of_the_timeout(question, api, call):
    async def answer_slowly(request):
        await anyio.sleep(TIMEOUT_S * 0.6)
        return api(request)

    tool, arguments = QUESTIONS[question]
    started = time.monotonic()
    outcome = await call(
        tool, arguments, transport=httpx.MockTransport(answer_slowly), timeout_s=TIMEOUT_S
    )
    assert time.monotonic() - started < TIMEOUT_S * 4 / 3 + SLACK_S
    assert UNANSWERED in outcome.text


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        pytest.param("stats", {"interval": "day"}, id="rows, then their total"),
        pytest.param("top_sources", {"compare": "previous_period"}, id="two windows"),
    ],
)
async def test_the_calls_of_a_tool_share_one_timeout(tool, arguments, api, source, call):
    api.stats = lambda _params: [{"bucket": "2026-05-01T00:00:00.000Z", "value": 9}]
    api.sources = [source("facebook", "paid", 9)]

    async def answer_slowly(request):
        await anyio.sleep(TIMEOUT_S * 0.7)
        return api(request)

    started = time.monotonic()
    outcome = await call(
        tool, arguments, transport=httpx.MockTransport(answer_slowly), timeout_s=TIMEOUT_S
    )
    assert time.monotonic() - started < TIMEOUT_S + SLACK_S / 2
    assert outcome.is_error
    assert "The API did not answer within 0.6 seconds" in outcome.text


async def test_completions_of_a_slow_api_are_empty_and_fast(api, connect):
    async with connect(
        transport=httpx.MockTransport(FailingFrom(api, first=1, fault=stall)), timeout_s=TIMEOUT_S
    ) as client:
        started = time.monotonic()
        result = await client.complete(
            PromptReference(name="paid_vs_organic"), {"name": "source", "value": ""}
        )
    assert time.monotonic() - started < TIMEOUT_S
    assert result.completion.values == []


@pytest.mark.parametrize(
    ("tool", "name", "longest"),
    [
        pytest.param("stats", "event", 128, id="stats of an event"),
        pytest.param("top_sources", "source", 2048, id="top_sources of a source"),
        pytest.param("raw_events", "event", 128, id="raw_events of event"),
        pytest.param("raw_events", "source", 2048, id="raw_events of source"),
        pytest.param("raw_events", "medium", 2048, id="raw_events of medium"),
        pytest.param("raw_events", "user_id", 256, id="raw_events of user_id"),
        pytest.param("raw_events", "anonymous_id", 128, id="raw_events of anonymous_id"),
    ],
)
async def test_a_long_name_is_cut_in_notes(tool, name, longest, known, call):
    outcome = await call(tool, LATE_WINDOW | {name: "x" * longest})
    assert f"…[+{longest - 100}]" in outcome.text
    assert len(outcome.text) < 1000
    refused = await call(tool, LATE_WINDOW | {name: "x" * (longest + 1)})
    assert f"{name}: String should have at most {longest} characters" in refused.text
