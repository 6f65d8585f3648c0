import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millimetric_mcp.api.auth import authenticate, authorise, check_origin
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import (
    BATCH,
    ENDPOINTS,
    FORGET,
    IDENTIFY,
    IMPORT,
    IMPORT_LIST,
    IMPORT_UNDO,
    TRACK,
)
from millimetric_mcp.contract.keys import (
    KeyEnv,
    KeyKind,
    KeyRecord,
    hash_secret,
    normalise_origin,
)
from millimetric_mcp.errors import RequestError, StoreUnavailable

PEPPER = b"pepper for the tests"
SECRET = "Zq_" + "x-" * 20
RECORDS = {
    f"{kind}prefix": KeyRecord(
        prefix=f"{kind}prefix",
        kind=kind,
        env=KeyEnv.LIVE,
        project_id=7,
        project="shop",
        origins=frozenset({"https://shop.example", "http://localhost:5173"}),
        secret_hash=hash_secret(SECRET, pepper=PEPPER),
    )
    for kind in KeyKind
}
PK, SK, RK = (RECORDS[f"{kind}prefix"] for kind in KeyKind)


async def find(prefix: str) -> KeyRecord | None:
    return RECORDS.get(prefix)


async def ask(authorization: str | None) -> KeyRecord:
    return await authenticate(authorization, find=find, pepper=PEPPER)


async def refuse(authorization: str | None) -> ErrorCode:
    with pytest.raises(RequestError) as refused:
        await ask(authorization)
    assert refused.value.status == 401
    assert SECRET not in f"{refused.value} {refused.value.body()}"
    return refused.value.code


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
async def test_a_valid_key_returns_its_record(record):
    assert await ask(f"Bearer {record.kind}_live_{record.prefix}_{SECRET}") is record


@pytest.mark.parametrize("form", ["bearer {}", "BEARER {}", "Bearer   {}", "  Bearer {}  "])
async def test_the_scheme_is_read_in_any_case_and_spacing(form):
    assert await ask(form.format(f"sk_live_skprefix_{SECRET}")) is SK


@pytest.mark.parametrize(
    "authorization",
    [None, "", "   ", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", f"sk_live_skprefix_{SECRET}"],
)
async def test_a_request_without_a_bearer_token_is_refused(authorization):
    assert await refuse(authorization) is ErrorCode.MISSING_BEARER_TOKEN


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(f"ak_live_skprefix_{SECRET}", id="account key"),
        pytest.param(f"SK_live_skprefix_{SECRET}", id="kind in capitals"),
        pytest.param(f"sk_prod_skprefix_{SECRET}", id="unknown env"),
        pytest.param(f"sk_live_skprefi_{SECRET}", id="prefix of seven"),
        pytest.param(f"sk_live_skprefixx_{SECRET}", id="prefix of nine"),
        pytest.param(f"sk_live_skpre-ix_{SECRET}", id="hyphen in prefix"),
        pytest.param(f"sk_live_skprefıx_{SECRET}", id="letter beyond ASCII"),
        pytest.param("sk_live_skprefix_" + "x" * 31, id="secret of 31"),
        pytest.param("sk_live_skprefix_" + "x" * 129, id="secret of 129"),
        pytest.param(f"sk_live_skprefix_{SECRET}+", id="other characters"),
        pytest.param(f"sk_live_skprefix_{SECRET} more", id="two words"),
        pytest.param("eyJhbGciOiJIUzI1NiJ9.e30.x", id="another's token"),
    ],
)
async def test_a_token_of_another_shape_is_malformed(token):
    assert await refuse(f"Bearer {token}") is ErrorCode.MALFORMED_API_KEY


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(f"sk_live_unknownn_{SECRET}", id="unknown prefix"),
        pytest.param(f"sk_live_skprefix_{SECRET[:-1]}y", id="wrong secret"),
        pytest.param(f"sk_live_skprefix_{SECRET}x", id="secret and more"),
        pytest.param(f"sk_test_skprefix_{SECRET}", id="another env"),
    ],
)
async def test_a_key_that_does_not_match_is_invalid(token):
    assert await refuse(f"Bearer {token}") is ErrorCode.INVALID_API_KEY


async def test_a_prefix_known_under_another_kind_is_a_mismatch():
    assert await refuse(f"Bearer rk_live_skprefix_{SECRET}") is ErrorCode.KEY_KIND_MISMATCH


async def test_a_key_hashed_with_another_pepper_is_invalid():
    with pytest.raises(RequestError) as refused:
        await authenticate(f"Bearer sk_live_skprefix_{SECRET}", find=find, pepper=b"other")
    assert refused.value.code is ErrorCode.INVALID_API_KEY


async def test_an_empty_stored_hash_matches_nothing():
    async def find_broken(prefix: str) -> KeyRecord:
        return replace(SK, secret_hash=b"")

    with pytest.raises(RequestError):
        await authenticate(f"Bearer sk_live_skprefix_{SECRET}", find=find_broken, pepper=PEPPER)


async def test_a_failed_look_up_is_not_an_invalid_key():
    async def fail(prefix: str) -> None:
        raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        await authenticate(f"Bearer sk_live_skprefix_{SECRET}", find=fail, pepper=PEPPER)


@given(st.text() | st.from_regex(r"Bearer (pk|sk|rk|ak)_(live|test)_.{6,9}_.{30,34}"))
def test_any_invalid_header_is_refused_with_a_request_error(authorization):
    with pytest.raises(RequestError):
        asyncio.run(ask(authorization))


WRITES = {TRACK, BATCH, IDENTIFY}
IMPORTS = {IMPORT, IMPORT_UNDO, IMPORT_LIST}
ALLOWED = {
    KeyKind.PK: WRITES,
    KeyKind.SK: WRITES | {FORGET} | IMPORTS,
    KeyKind.RK: set(ENDPOINTS) - WRITES - {FORGET} - IMPORTS,
}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_a_key_calls_the_endpoints_of_its_kind_only(record, endpoint):
    if endpoint in ALLOWED[record.kind]:
        authorise(record, endpoint)
        return
    with pytest.raises(RequestError) as refused:
        authorise(record, endpoint)
    expected = (
        ErrorCode.FORGET_REQUIRES_SECRET_KEY
        if (record.kind, endpoint) == (KeyKind.PK, FORGET)
        else ErrorCode.INSUFFICIENT_SCOPE
    )
    assert (refused.value.code, refused.value.status) == (expected, 403)


@pytest.mark.parametrize(
    "origin",
    [
        "https://shop.example",
        "http://localhost:5173",
        "HTTPS://Shop.Example",
        "https://shop.example:443",
    ],
)
def test_a_browser_key_works_from_an_origin_on_its_list(origin):
    check_origin(PK, origin)


@pytest.mark.parametrize(
    ("origin", "shown"),
    [
        pytest.param("https://www.shop.example", None, id="www is another"),
        pytest.param("http://shop.example", None, id="another scheme"),
        pytest.param("https://shop.example:8443", None, id="another port"),
        pytest.param("http://localhost:80", None, id="default port of another list entry"),
        pytest.param("https://shop.example.evil.test", None, id="look-alike"),
        pytest.param("https://evil.test/https://shop.example", None, id="in a path"),
        pytest.param("https://shop.example/", None, id="trailing slash"),
        pytest.param("https://shop.example@evil.test", None, id="user part"),
        pytest.param("null", None, id="null"),
        pytest.param("", None, id="empty"),
        pytest.param(None, "", id="absent"),
        pytest.param("x\x1b[2J\n\u202e é", "x?[2J?? ?", id="control characters"),
        pytest.param("https://" + "a" * 9000, "https://" + "a" * 248, id="long"),
    ],
)
def test_a_browser_key_from_another_origin_is_refused_with_that_origin(origin, shown):
    with pytest.raises(RequestError) as refused:
        check_origin(PK, origin)
    assert refused.value.status == 403
    assert refused.value.body() == {
        "error": "origin_not_allowed",
        "origin": origin if shown is None else shown,
    }


@pytest.mark.parametrize("record", [SK, RK], ids=["sk", "rk"])
@pytest.mark.parametrize("origin", [None, "https://evil.test"])
def test_other_keys_work_from_anywhere(record, origin):
    check_origin(record, origin)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://shop.example", "https://shop.example"),
        ("HTTPS://Shop.Example:443", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("http://shop.example:443", "http://shop.example:443"),
        ("http://localhost:05173", "http://localhost:5173"),
        ("http://[::1]:8787", "http://[::1]:8787"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://bücher.example", None),
        ("https://\u212a.example", None),
        ("https://shop.example/", None),
        ("https://shop.example\n", None),
        ("https://*.shop.example", None),
        ("https://shop..example", None),
        ("https://shop.example:65536", None),
        ("shop.example", None),
        ("https://", None),
        ("null", None),
        ("*", None),
    ],
)
def test_an_origin_is_normalised_to_the_form_of_browsers(text, origin):
    assert normalise_origin(text) == origin


@given(st.text())
def test_a_normalised_origin_does_not_change_again(text):
    origin = normalise_origin(text)
    assert origin is None or normalise_origin(origin) == origin
