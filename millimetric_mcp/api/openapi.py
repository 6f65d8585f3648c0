"""The API's own description: the contract's endpoints, models and codes as OpenAPI 3.1."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from millimetric_mcp import __version__
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import ENDPOINTS, HEALTH_PATH, OPENAPI_PATH, Endpoint
from millimetric_mcp.contract.keys import SCOPES, Scope
from millimetric_mcp.contract.reads import GroupColumn
from millimetric_mcp.contract.validation import check_absolute_url

Json = dict[str, Any]
AnyEndpoint = Endpoint[Any, Any]

_SCHEMAS = "#/components/schemas/"
_DESCRIPTION = """\
Events in, attribution and statistics out.

Every error body is `{"error": code}`; the code is the contract. Checks run in this order: route \
and method, key, scope, origin, rate, type and size, body. A path that is not listed answers \
`404 not_found`, another method `405 method_not_allowed`. Any origin may call `/v1/*` (CORS): \
the key authorises, and a `pk` key its origins alone. Bodies are JSON in UTF-8 of at most \
10 MiB (10,485,760 bytes), plain or with `Content-Encoding: gzip` (the inflated size counts); \
unknown fields and parameters are ignored, known parameters are not empty."""

_DETAILS: Json = {
    "type": "object",
    "description": "What is wrong, by field or parameter, and with the whole.",
    "properties": {
        "fieldErrors": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
        "formErrors": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["fieldErrors", "formErrors"],
}
_DETAILS_AND_ALLOWED: Json = {
    "allOf": [{"$ref": f"{_SCHEMAS}ErrorDetails"}],
    "properties": {"allowed": {"type": "array", "items": {"enum": list(GroupColumn)}}},
    "required": ["allowed"],
}
_RETRY_AFTER: Json = {"type": "integer", "minimum": 1, "description": "Seconds to wait."}
_EXTRAS: Mapping[ErrorCode, Json] = {
    ErrorCode.INVALID_PAYLOAD: {"details": {"$ref": f"{_SCHEMAS}ErrorDetails"}},
    ErrorCode.INVALID_PARAMS: {"details": {"$ref": f"{_SCHEMAS}ErrorDetails"}},
    ErrorCode.INVALID_GROUP_BY: {"details": _DETAILS_AND_ALLOWED},
    ErrorCode.ORIGIN_NOT_ALLOWED: {"origin": {"type": "string"}},
    ErrorCode.RATE_LIMITED: {"retry_after_s": _RETRY_AFTER},
    ErrorCode.UPSTREAM_FAILED: {"retry_after_s": _RETRY_AFTER},
}
_HEADERS: Mapping[int, Json] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}},
    429: {"Retry-After": {"required": True, "schema": _RETRY_AFTER}},
    503: {"Retry-After": {"required": True, "schema": _RETRY_AFTER}},
}


@cache
def render_openapi() -> bytes:
    """Return the document as it is served and committed, byte for byte."""
    return (json.dumps(build_openapi(), indent=2, ensure_ascii=False) + "\n").encode()


def build_openapi() -> Json:
    """Return the document: every endpoint with each status, header, body and example it has."""
    schemas = _describe_bodies()
    operations = {
        endpoint.path: {endpoint.method.lower(): _describe_operation(endpoint, schemas)}
        for endpoint in ENDPOINTS
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Millimetric API",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [
            {"url": "/", "description": "The API that serves this document"},
            {"url": "http://localhost:8787", "description": "A local API"},
        ],
        "paths": operations | _describe_service(),
        "components": {
            "schemas": dict(sorted((schemas | _describe_errors()).items())),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "(pk|sk|rk)_(live|test)_<prefix>_<secret>",
                    "description": "pk: browsers, from their origins; sk: servers; rk: readers.",
                }
            },
        },
    }


class _BodySchema(GenerateJsonSchema):
    """Schemas without generated titles and empty defaults; an absolute URL has its format."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - overrides
        return False

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> Json:
        written = super().function_after_schema(schema)
        is_url = schema["function"]["function"] is check_absolute_url
        return written | ({"format": "uri"} if is_url else {})

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        written = super().default_schema(schema)
        if not written.get("default", True):
            del written["default"]
        return written


class _QuerySchema(_BodySchema):
    """Schemas of query parameters: one may be absent, never null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def _describe_bodies() -> Json:
    requests = [endpoint.request for endpoint in ENDPOINTS if endpoint.method == "POST"]
    results = [endpoint.result for endpoint in ENDPOINTS]
    _, written = models_json_schema(
        [
            *((model, "validation") for model in requests),
            *((model, "serialization") for model in results),
        ],
        ref_template=f"{_SCHEMAS}{{model}}",
        schema_generator=_BodySchema,
    )
    return {name: _without_title(schema) for name, schema in written["$defs"].items()}


def _without_title(schema: Json) -> Json:
    return {name: value for name, value in schema.items() if name != "title"}


def _describe_operation(endpoint: AnyEndpoint, schemas: Json) -> Json:
    kinds = ", ".join(kind for kind, scopes in SCOPES.items() if endpoint.scope in scopes)
    written: Json = {
        "operationId": endpoint.path.rpartition("/")[2],
        "tags": ["read" if endpoint.scope is Scope.READ else "write"],
        "summary": endpoint.summary,
        "description": f"Keys: {kinds}.",
        "security": [{"key": []}],
    }
    if endpoint.method == "POST":
        body = _as_json({"$ref": _SCHEMAS + endpoint.request.__name__}, endpoint.request_example)
        written["requestBody"] = {"required": True, "content": body}
    else:
        written["parameters"] = list(_describe_parameters(endpoint, schemas))
    success = {
        "description": endpoint.summary,
        "content": _as_json(
            {"$ref": _SCHEMAS + endpoint.result.__name__}, endpoint.response_example
        ),
    }
    written["responses"] = {str(endpoint.status): success} | _describe_failures(endpoint)
    return written


def _describe_parameters(endpoint: AnyEndpoint, schemas: Json) -> Iterator[Json]:
    """Yield the query parameters; the schemas that they refer to are added to ``schemas``."""
    model: type[BaseModel] = endpoint.request
    written = model.model_json_schema(
        ref_template=f"{_SCHEMAS}{{model}}", schema_generator=_QuerySchema
    )
    for name, schema in written.get("$defs", {}).items():
        schemas.setdefault(name, _without_title(schema))
    for name, schema in written["properties"].items():
        described = dict(schema)
        parameter = {"name": name, "in": "query", "required": name in written["required"]}
        if "description" in described:
            parameter["description"] = described.pop("description")
        parameter["schema"] = described
        if name in endpoint.request_example:
            parameter["example"] = endpoint.request_example[name]
        yield parameter


def _describe_failures(endpoint: AnyEndpoint) -> Json:
    codes_by_status: dict[int, list[ErrorCode]] = {}
    for code in endpoint.errors:
        for status in code.statuses:
            if not (status == 502 and endpoint.always_certain):
                codes_by_status.setdefault(status, []).append(code)
    return {
        str(status): _describe_failure(status, codes)
        for status, codes in sorted(codes_by_status.items())
    }


def _describe_failure(status: int, codes: Sequence[ErrorCode]) -> Json:
    references = [{"$ref": _SCHEMAS + _error_name(code)} for code in codes]
    schema = references[0] if len(references) == 1 else {"oneOf": references}
    headers = {"headers": _HEADERS[status]} if status in _HEADERS else {}
    meanings = " ".join(code.meaning for code in codes)
    return {"description": meanings, "content": {"application/json": {"schema": schema}}, **headers}


def _describe_errors() -> Json:
    described: Json = {"ErrorDetails": _DETAILS}
    for code in ErrorCode:
        extras = _EXTRAS.get(code, {})
        # 503 says how long to wait, 502 does not.
        certain = [name for name in extras if code is not ErrorCode.UPSTREAM_FAILED]
        described[_error_name(code)] = {
            "type": "object",
            "description": code.meaning,
            "properties": {"error": {"const": code.value}} | extras,
            "required": ["error", *certain],
        }
    return described


def _error_name(code: ErrorCode) -> str:
    return "Error" + "".join(part.capitalize() for part in code.value.split("_"))


def _describe_service() -> Json:
    """Return the paths beside ``/v1/*``, which need no key."""
    health = {
        "200": {"description": "It serves.", "content": _health_body("ok")},
        "503": {
            "description": "The event store does not answer.",
            "content": _health_body("unavailable"),
        },
    }
    any_object = {"application/json": {"schema": {"type": "object"}}}
    document = {"200": {"description": "OpenAPI 3.1.", "content": any_object}}
    paths = (
        (HEALTH_PATH, "health", "Liveness and readiness.", health),
        (OPENAPI_PATH, "openapi", "This document.", document),
    )
    return {
        path: {
            "get": {
                "operationId": name,
                "tags": ["service"],
                "summary": summary,
                "security": [],
                "responses": responses
                | {"500": _describe_failure(500, [ErrorCode.INTERNAL_ERROR])},
            }
        }
        for path, name, summary, responses in paths
    }


def _health_body(state: str) -> Json:
    names = ["status", "store"]
    properties = {name: {"const": state} for name in names}
    schema = {"type": "object", "properties": properties, "required": names}
    return _as_json(schema, dict.fromkeys(names, state))


def _as_json(schema: Json, example: Mapping[str, Any]) -> Json:
    return {"application/json": {"schema": schema, "example": example}}
