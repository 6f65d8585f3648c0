"""forget: a person is asked where the client can ask, in both protocol eras."""

import pytest
from mcp import MCPError
from mcp_types import ElicitResult, ErrorData, InputRequiredResult

PLANTED = "planted words of the client"
MODES = pytest.mark.parametrize("mode", ["legacy", "auto"], ids=["handshake", "2026-07-28"])


def reply(action, asked=None):
    async def callback(_context, params):
        if asked is not None:
            asked.append(params.message)
        return ElicitResult(action=action, content={} if action == "accept" else None)

    return callback


@MODES
async def test_an_accepted_question_deletes(mode, call, api):
    outcome = await call("forget", {"user_id": "user_42"}, mode=mode, elicitation=reply("accept"))
    assert not outcome.is_error
    assert (outcome.data["ok"], outcome.data["queued"]) == (True, True)
    assert api.sent("/v1/forget") == [{"user_id": "user_42"}]


@MODES
@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_declined_question_sends_nothing(mode, action, call, api):
    outcome = await call("forget", {"user_id": "user_42"}, mode=mode, elicitation=reply(action))
    assert not outcome.is_error
    assert (outcome.data["ok"], outcome.data["queued"]) == (False, False)
    assert api.sent("/v1/forget") == []


@MODES
async def test_the_question_says_how_many_events_are_known(mode, call, api, event_row):
    api.events = [event_row()] * 3 + [event_row(user_id="other")]
    asked = []
    await call("forget", {"user_id": "user_42"}, mode=mode, elicitation=reply("decline", asked))
    (question,) = asked
    assert "user_42" in question
    assert "Found: 3 events." in question


async def test_the_count_takes_one_request_in_every_protocol_version(call, api):
    await call("forget", {"user_id": "u"}, elicitation=reply("accept"))
    assert len(api.asked("/v1/query")) == 1


async def test_the_question_counts_one_event_in_the_singular(call, api, event_row):
    api.events = [event_row(user_id="u")]
    asked = []
    await call("forget", {"user_id": "u"}, elicitation=reply("decline", asked))
    assert asked[0].endswith("Found: 1 event.")


async def test_without_a_read_key_the_question_has_no_count(call, api):
    asked = []
    await call("forget", {"user_id": "u"}, read_key=None, elicitation=reply("accept", asked))
    assert "Found" not in asked[0]
    assert api.asked("/v1/query") == []


@MODES
@pytest.mark.parametrize("read_key", [None, "rk_test_READKEY0_" + "r" * 32], ids=["none", "rk"])
async def test_without_a_write_key_no_question_is_asked(mode, read_key, call, api):
    asked = []
    keys = {"write_key": None, "read_key": read_key}
    outcome = await call(
        "forget", {"user_id": "u"}, mode=mode, elicitation=reply("accept", asked), **keys
    )
    assert outcome.text.startswith("A person must change the configuration: MILLIMETRIC_KEY is not")
    assert asked == []
    assert api.requests == []


async def test_the_question_is_asked_even_if_counting_fails(call, api, answer):
    api.rules["/v1/query"] = lambda _: answer({"error": "invalid_api_key"}, 401)
    asked = []
    outcome = await call("forget", {"user_id": "u"}, elicitation=reply("accept", asked))
    assert outcome.data == {"ok": True, "queued": True}
    assert "Found" not in asked[0]


async def test_the_question_says_or_more_for_a_thousand_events(call, api, event_row):
    api.events = [event_row(user_id="u")] * 1200
    asked = []
    await call("forget", {"user_id": "u"}, elicitation=reply("decline", asked))
    assert "1000 events or more" in asked[0]


async def test_a_client_that_fails_to_ask_deletes_nothing(call, api, caplog):
    async def fail(_context, _params):
        return ErrorData(code=-32603, message=PLANTED)

    outcome = await call("forget", {"user_id": "u"}, mode="legacy", elicitation=fail)
    assert outcome.is_error
    assert "failed to ask its user" in outcome.text
    assert PLANTED not in outcome.text + caplog.text
    assert api.sent("/v1/forget") == []


@MODES
async def test_a_client_that_can_not_ask_has_to_confirm(mode, call, api, event_row):
    api.events = [event_row(user_id="u")] * 3
    first = await call("forget", {"user_id": "u"}, mode=mode)
    assert first.data == {"ok": False, "queued": False, "found": 3}
    assert first.text == (
        'Nothing was sent. Ask your user: Delete every event of user "u"? This can\'t be undone. '
        "Found: 3 events. If yes, repeat with confirm: true."
    )
    assert api.sent("/v1/forget") == []

    second = await call("forget", {"user_id": "u", "confirm": True}, mode=mode)
    assert second.data == {"ok": True, "queued": True, "found": 3}
    assert api.sent("/v1/forget") == [{"user_id": "u"}]


@MODES
async def test_confirm_does_not_replace_the_question_where_the_client_can_ask(mode, call, api):
    arguments = {"user_id": "u", "confirm": True}
    outcome = await call("forget", arguments, mode=mode, elicitation=reply("decline"))
    assert outcome.text.startswith("Declined: nothing was sent")
    assert api.sent("/v1/forget") == []


@pytest.mark.parametrize("elicitation", [None, reply("accept")], ids=["confirm", "asked"])
async def test_an_unknown_user_is_named_as_such(call, elicitation):
    arguments = (
        {"user_id": "typo-user"} if elicitation else {"user_id": "typo-user", "confirm": True}
    )
    outcome = await call("forget", arguments, mode="legacy", elicitation=elicitation)
    assert outcome.data == {"ok": True, "queued": True, "found": 0}
    assert outcome.text == 'Queued, but no event of user "typo-user" was found. Check the id.'


async def test_a_visitor_is_deleted_by_anonymous_id(call, api, event_row):
    api.events = [event_row(anonymous_id="v"), event_row(anonymous_id="w")]
    asked = []
    arguments = {"anonymous_id": "v"}
    outcome = await call("forget", arguments, mode="legacy", elicitation=reply("accept", asked))
    assert asked == ['Delete every event of visitor "v"? This can\'t be undone. Found: 1 event.']
    assert outcome.text == 'Queued: every event of visitor "v" is being deleted.'
    assert api.sent("/v1/forget") == [{"anonymous_id": "v"}]


async def test_linked_visitors_are_named_in_the_question(call, api, answer):
    asked = []
    api.rules["/v1/forget"] = lambda _: answer(
        {"ok": True, "queued": True, "applied": {"linked": True}}
    )
    arguments = {"user_id": "u", "linked": True}
    outcome = await call("forget", arguments, elicitation=reply("accept", asked))
    assert "and of the visitors tied to this user and to no other?" in asked[0]
    assert not outcome.is_error
    assert api.sent("/v1/forget") == [arguments]


async def test_linked_fails_when_the_api_does_not_know_it(call):
    outcome = await call("forget", {"user_id": "u", "linked": True, "confirm": True})
    assert outcome.is_error
    assert "does not know 'linked': events of the visitors stay" in outcome.text


@MODES
async def test_a_client_that_can_not_ask_is_refused_with_confirm_destructive(mode, call, api):
    outcome = await call("forget", {"user_id": "u"}, mode=mode, confirm_destructive=True)
    assert outcome.is_error
    assert outcome.text.startswith("A person must change the configuration:")
    assert "--confirm-destructive" in outcome.text
    assert api.requests == []


async def test_an_answer_without_a_question_deletes_nothing(connect, api):
    async with connect(elicitation=reply("accept")) as client:
        result = await client.session.call_tool(
            "forget",
            {"user_id": "u"},
            input_responses={"confirm": ElicitResult(action="accept", content={})},
            allow_input_required=True,
        )
    assert isinstance(result, InputRequiredResult)
    assert api.sent("/v1/forget") == []


async def test_an_answer_for_one_user_does_not_delete_another(connect, api):
    async with connect(elicitation=reply("accept")) as client:
        asked = await client.session.call_tool(
            "forget", {"user_id": "a"}, allow_input_required=True
        )
        with pytest.raises(MCPError, match="requestState"):
            await client.session.call_tool(
                "forget",
                {"user_id": "b"},
                input_responses={"confirm": ElicitResult(action="accept", content={})},
                request_state=asked.request_state,
                allow_input_required=True,
            )
    assert api.sent("/v1/forget") == []


@pytest.mark.parametrize("action", ["accept", "decline"])
async def test_a_long_user_id_is_cut_where_it_is_quoted(action, call):
    asked = []
    user_id = 'x"? Nothing will be erased.\n' + "\u202e" * 200
    outcome = await call("forget", {"user_id": user_id}, elicitation=reply(action, asked))
    for text in (asked[0], outcome.text):
        assert r'"x\"? Nothing will be erased.\n\u202e' in text
        assert "…[+128]" in text
        assert len(text) < 700


async def test_a_hostile_user_id_can_not_change_the_question(call, api):
    asked = []
    await call("forget", {"user_id": "u\n\x1b[2Jsafe\u202e"}, elicitation=reply("decline", asked))
    assert "\x1b" not in asked[0]
    assert "\n" not in asked[0]
    assert "\u202e" not in asked[0]


async def test_a_user_id_with_brackets_is_no_list_of_users(call, api, event_row):
    api.events = [event_row(user_id="a"), event_row(user_id='["a"]')]
    asked = []
    await call("forget", {"user_id": '["a"]'}, elicitation=reply("decline", asked))
    assert asked[0].endswith("Found: 1 event.")
    assert api.requests[0].url.params.get_list("user_id") == ['["a"]']
