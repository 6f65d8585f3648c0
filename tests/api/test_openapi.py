"""The OpenAPI document: valid, complete, true to what the API does, and the one in the docs."""

from functools import cache
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from schemathesis import openapi

from millimetric_mcp import __version__
from millimetric_mcp.api.openapi import build_openapi, render_openapi
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import (
    BATCH,
    ENDPOINTS,
    PAGE_FILES,
    PAGE_FILES_PATH,
    TRACK,
    Endpoint,
)

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
NOT_OF_A_PATH = {ErrorCode.NOT_FOUND, ErrorCode.METHOD_NOT_ALLOWED}

each_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda item: item.path)
document = cache(build_openapi)


def operation(endpoint: Endpoint) -> dict:
    return document()["paths"][endpoint.path][endpoint.method.lower()]


def test_the_document_is_valid_openapi_3_1():
    openapi.from_dict(document()).validate()

    assert document()["openapi"].startswith("3.1.")
    assert document()["info"]["version"] == __version__


def test_the_committed_document_equals_the_served_one():
    assert COMMITTED.read_bytes() == render_openapi(), "run scripts/docs.py and commit the result"


async def test_the_api_serves_the_document_without_a_key(quick_api):
    answer = await quick_api.http.get("/openapi.json")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == render_openapi()


def test_exactly_the_served_routes_are_described(quick_api):
    files = {PAGE_FILES_PATH + name for name in PAGE_FILES}
    served = {
        (PAGE_FILES_PATH + "{file}" if route.path in files else route.path, method.lower())
        for route in quick_api.app.routes
        for method in route.methods - {"HEAD"}
    }

    assert served == {
        (path, method) for path, methods in document()["paths"].items() for method in methods
    }


@each_endpoint
def test_every_endpoint_asks_for_a_key_and_names_the_kinds_that_fit(endpoint):
    assert operation(endpoint)["security"] == [{"key": []}]
    kinds = {"ingest": "pk, sk", "forget": "sk", "import": "sk", "read": "rk"}[endpoint.scope]
    assert operation(endpoint)["description"] == f"Keys: {kinds}."


def test_every_error_code_of_an_endpoint_is_described_there():
    described = {code for endpoint in ENDPOINTS for code in endpoint.errors}

    assert described == set(ErrorCode) - NOT_OF_A_PATH


@each_endpoint
def test_retry_after_is_described_for_409_429_and_503(endpoint):
    for status, response in operation(endpoint)["responses"].items():
        assert ("Retry-After" in response.get("headers", {})) is (status in {"409", "429", "503"})


@each_endpoint
def test_every_parameter_of_the_contract_is_described(endpoint):
    fields = endpoint.request.model_fields
    names = [field.alias or name for name, field in fields.items()]
    if endpoint.method == "GET":
        described = operation(endpoint)["parameters"]
        assert [parameter["name"] for parameter in described] == names
        assert all(parameter["description"] for parameter in described)
        without = [p["name"] for p in described if "example" not in p]
        assert without == [], "add it to request_example in contract/endpoints.py"
        required = [field.is_required() for field in fields.values()]
        assert [parameter["required"] for parameter in described] == required
    else:
        schema = document()["components"]["schemas"][endpoint.request.__name__]
        assert list(schema["properties"]) == names


@pytest.mark.parametrize(
    ("field", "nullable"),
    [
        ("event", False),
        ("event_id", True),
        ("timestamp", True),
        ("url", True),
        ("properties", True),
    ],
)
def test_null_is_described_for_the_fields_that_accept_it(field, nullable):
    schema = document()["components"]["schemas"]["TrackEvent"]["properties"][field]

    assert Draft202012Validator(schema).is_valid(None) is nullable


def validate(endpoint: Endpoint, status: int, body: object) -> None:
    content = operation(endpoint)["responses"][str(status)]["content"]["application/json"]
    components = {"components": document()["components"]}
    Draft202012Validator(content["schema"] | components).validate(body)


@each_endpoint
async def test_each_example_is_answered_as_the_document_says(api, endpoint):
    sent, answered = endpoint.request_example, endpoint.response_example
    await api.post("/v1/batch", BATCH.request_example)

    if endpoint.method == "POST":
        answer = await api.post(endpoint.path, sent)
        assert answer.json() == answered
    else:
        answer = await api.get(endpoint.path, sent)

    assert answer.status_code == endpoint.status
    validate(endpoint, answer.status_code, answer.json())
    validate(endpoint, endpoint.status, answered)
    endpoint.request.model_validate(sent)
    endpoint.result.model_validate(answered)


async def test_the_example_rows_have_the_columns_of_real_ones(api):
    await api.post("/v1/track", TRACK.request_example)

    for endpoint in ENDPOINTS:
        if endpoint.method == "GET":
            sent, answered = endpoint.request_example, endpoint.response_example
            asked = {name: value for name, value in sent.items() if name != "country"}
            row, *_ = await api.rows(endpoint.path, asked)
            assert list(row) == list(answered["rows"][0])
