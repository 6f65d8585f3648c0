"""Every kind of key at every endpoint, and tokens that are no key."""

from millimetric_mcp.contract.endpoints import ENDPOINTS
from millimetric_mcp.contract.keys import SCOPES, KeyKind, Scope
from tests.torture.harness import at_least, none, run_api


def list_bad_keys(keys):
    """Yield tokens that are no key of the API, with the code of their refusal."""
    kind, env, prefix, secret = keys["sk"].split("_", 3)
    yield "-", "malformed_api_key"
    yield "ak_live_12345678_" + "a" * 40, "malformed_api_key"
    yield f"{kind}_{env}_{prefix}", "malformed_api_key"
    yield f"{kind}_{env}_{prefix}_{'x' * len(secret)}", "invalid_api_key"
    yield f"{kind}_test_{prefix}_{secret}", "invalid_api_key"
    yield f"{kind}_{env}_AAAAAAAA_{secret}", "invalid_api_key"
    yield f"rk_{env}_{prefix}_{secret}", "key_kind_mismatch"


def ask(api, endpoint, key):
    body = (
        {"json": endpoint.request_example}
        if endpoint.method == "POST"
        else {"params": endpoint.request_example}
    )
    return api.ask(endpoint.method, endpoint.path, key=key, **body)


def count_wrong_answers(api):
    """Return how many requests were asked, and how many were let in or refused wrongly."""
    asked = wrong = 0
    for endpoint in ENDPOINTS:
        for kind in KeyKind:
            answer = ask(api, endpoint, kind.value)
            code = (
                "forget_requires_secret_key"
                if (endpoint.scope is Scope.FORGET and kind is KeyKind.PK)
                else "insufficient_scope"
            )
            is_let_in = answer.status_code not in {401, 403}
            is_right = is_let_in or answer.json()["error"] == code
            wrong += is_let_in is not (endpoint.scope in SCOPES[kind]) or not is_right
            asked += 1
        for token, code in list_bad_keys(api.keys):
            api.keys["bad"] = token
            answer = ask(api, endpoint, "bad")
            wrong += (answer.status_code, answer.json()["error"]) != (401, code)
            asked += 1
    return asked, wrong


def run(scale, directory):
    with run_api(directory / "data") as api:
        asked, wrong = count_wrong_answers(api)
        unexpected = api.count_unexpected()
    return [
        at_least("pairs of a key and an endpoint tried", asked, len(ENDPOINTS) * len(KeyKind)),
        none("of them let in or refused wrongly", wrong),
        none("unexpected errors of these requests", unexpected),
    ]
