"""The API's own description: the contract's endpoints, models and codes as OpenAPI 3.1."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from millimetric_mcp import __version__
from millimetric_mcp.contract.codes import ERRORS, ErrorCode
from millimetric_mcp.contract.endpoints import (
    BATCH,
    ENDPOINTS,
    FORGET,
    HEALTH_PATH,
    IDENTIFY,
    OPENAPI_PATH,
    QUERY,
    SOURCES,
    STATS,
    TRACK,
    Endpoint,
)
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

_EVERYWHERE = (
    ErrorCode.MISSING_BEARER_TOKEN,
    ErrorCode.MALFORMED_API_KEY,
    ErrorCode.INVALID_API_KEY,
    ErrorCode.KEY_KIND_MISMATCH,
    ErrorCode.INSUFFICIENT_SCOPE,
    ErrorCode.INTERNAL_ERROR,
    ErrorCode.UPSTREAM_FAILED,
)
_BY_METHOD: Mapping[str, tuple[ErrorCode, ...]] = {
    "POST": (
        ErrorCode.INVALID_PAYLOAD,
        ErrorCode.PAYLOAD_TOO_LARGE,
        ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    ),
    "GET": (ErrorCode.INVALID_PARAMS,),
}
_BY_SCOPE: Mapping[Scope, tuple[ErrorCode, ...]] = {
    Scope.INGEST: (ErrorCode.ORIGIN_NOT_ALLOWED,),
    Scope.FORGET: (ErrorCode.FORGET_REQUIRES_SECRET_KEY, ErrorCode.FORGET_FAILED),
    Scope.READ: (),
}
_BY_ENDPOINT: Mapping[AnyEndpoint, tuple[ErrorCode, ...]] = {
    TRACK: (ErrorCode.RATE_LIMITED,),
    BATCH: (ErrorCode.RATE_LIMITED,),
    STATS: (ErrorCode.INVALID_GROUP_BY,),
}
# What becomes of an erasure's write is always known: it is in the forget log, or not.
_NEVER = {(FORGET, 502)}

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

_PAGE = "https://shop.example/?utm_source=facebook&utm_medium=cpc&utm_campaign=spring&fbclid=abc"
_WINDOW = {"from": "2026-05-01T00:00:00Z", "to": "2026-06-01T00:00:00Z"}
_EVENT = {
    "event": "signup",
    "event_id": "evt_abc123",
    "timestamp": "2026-05-16T19:00:00.000Z",
    "anonymous_id": "u_abc",
    "user_id": "user_42",
    "session_id": "sess_xyz",
    "url": _PAGE,
    "path": "/",
    "referrer": "https://l.facebook.com/",
    "properties": {"plan": "free", "team_size": 4},
}
_EVENT_ROW = {
    "timestamp": "2026-05-16T19:00:00.000Z",
    "event_name": "signup",
    "event_id": "evt_abc123",
    "anonymous_id": "u_abc",
    "user_id": "user_42",
    "session_id": "sess_xyz",
    "source": "facebook",
    "medium": "paid",
    "campaign": "spring",
    "source_confidence": "high",
    "source_rule_id": "fb_ad_redirect",
    "referrer": "https://l.facebook.com/",
    "url": _PAGE,
    "path": "/",
    "country": "",
    "device_type": "",
    "browser": "",
    "os": "",
    "properties": '{"plan":"free","team_size":4}',
}
EXAMPLES: Mapping[AnyEndpoint, tuple[Json, Json]] = {
    TRACK: (_EVENT, {"ok": True, "event_id": "evt_abc123"}),
    BATCH: (
        {"events": [_EVENT, {"event": "$pageview", "anonymous_id": "u_def"}]},
        {"ok": True, "count": 2},
    ),
    IDENTIFY: (
        {"anonymous_id": "u_abc", "user_id": "user_42", "traits": {"plan": "pro"}},
        {"ok": True},
    ),
    FORGET: ({"user_id": "user_43"}, {"ok": True, "queued": True}),
    SOURCES: (
        {**_WINDOW, "breakdown": "source_medium", "limit": 50},
        {
            "breakdown": "source_medium",
            "rows": [
                {
                    "source": "facebook",
                    "medium": "paid",
                    "events": 12,
                    "uniques": 9,
                    "paid_share": 1.0,
                }
            ],
        },
    ),
    STATS: (
        {
            **_WINDOW,
            "metric": "count",
            "group_by": "source,medium",
            "interval": "day",
            "event": "signup",
            "limit": 100,
        },
        {
            "metric": "count",
            "rows": [
                {
                    "bucket": "2026-05-16T00:00:00.000Z",
                    "source": "facebook",
                    "medium": "paid",
                    "value": 12,
                }
            ],
        },
    ),
    QUERY: (
        {
            **_WINDOW,
            "event": "signup",
            "source": "facebook",
            "medium": "paid",
            "country": "DE",
            "user_id": "user_42",
            "anonymous_id": "u_abc",
            "limit": 100,
        },
        {"rows": [_EVENT_ROW]},
    ),
}
"""A request (body or query) and its answer for each endpoint."""


@cache
def render_openapi() -> bytes:
    """The document as it is served and as it is committed, byte for byte."""
    return (json.dumps(build_openapi(), indent=2, ensure_ascii=False) + "\n").encode()


def build_openapi() -> Json:
    """The document: every endpoint with every status, header, body and example it has."""
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
    """Schemas without made-up titles and empty defaults; an absolute URL is named one."""

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
    """Schemas of query parameters: one is absent, never null."""

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
    name = endpoint.path.rpartition("/")[2]
    kinds = ", ".join(kind for kind, scopes in SCOPES.items() if endpoint.scope in scopes)
    written: Json = {
        "operationId": name,
        "tags": ["read" if endpoint.scope is Scope.READ else "write"],
        "summary": endpoint.summary,
        "description": f"Keys: {kinds}.",
        "security": [{"key": []}],
    }
    sent, answered = EXAMPLES[endpoint]
    if endpoint.method == "POST":
        body = _as_json(_reference(endpoint.request), sent)
        written["requestBody"] = {"required": True, "content": body}
    else:
        written["parameters"] = list(_describe_parameters(endpoint.request, sent, schemas))
    success = {
        "description": endpoint.summary,
        "content": _as_json(_reference(endpoint.result), answered),
    }
    written["responses"] = {str(endpoint.status): success} | _describe_refusals(endpoint)
    return written


def _describe_parameters(model: type[BaseModel], example: Json, schemas: Json) -> Iterator[Json]:
    """The query parameters; the schemas they refer to join the others."""
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
        yield parameter | {"schema": described, "example": example[name]}


def _describe_refusals(endpoint: AnyEndpoint) -> Json:
    codes_by_status: dict[int, list[ErrorCode]] = {}
    for code in list_codes(endpoint):
        for status in ERRORS[code].statuses:
            if (endpoint, status) not in _NEVER:
                codes_by_status.setdefault(status, []).append(code)
    return {
        str(status): _describe_refusal(status, codes)
        for status, codes in sorted(codes_by_status.items())
    }


def list_codes(endpoint: AnyEndpoint) -> tuple[ErrorCode, ...]:
    """Every error code the endpoint can answer with."""
    return (
        *_EVERYWHERE,
        *_BY_METHOD[endpoint.method],
        *_BY_SCOPE[endpoint.scope],
        *_BY_ENDPOINT.get(endpoint, ()),
    )


def _describe_refusal(status: int, codes: list[ErrorCode]) -> Json:
    references = [{"$ref": _SCHEMAS + _error_name(code)} for code in codes]
    schema = references[0] if len(references) == 1 else {"oneOf": references}
    written = {
        "description": " ".join(ERRORS[code].meaning for code in codes),
        "content": {"application/json": {"schema": schema}},
    }
    return written | ({"headers": _HEADERS[status]} if status in _HEADERS else {})


def _describe_errors() -> Json:
    described: Json = {"ErrorDetails": _DETAILS}
    for code, fact in ERRORS.items():
        extras = _EXTRAS.get(code, {})
        # Whether a wait helps is known only where certainly nothing was stored.
        certain = [name for name in extras if code is not ErrorCode.UPSTREAM_FAILED]
        described[_error_name(code)] = {
            "type": "object",
            "description": fact.meaning,
            "properties": {"error": {"const": code.value}} | extras,
            "required": ["error", *certain],
        }
    return described


def _error_name(code: ErrorCode) -> str:
    return "Error" + "".join(part.capitalize() for part in code.value.split("_"))


def _describe_service() -> Json:
    """The paths beside ``/v1/*``, which ask for no key."""
    internal = {"500": _describe_refusal(500, [ErrorCode.INTERNAL_ERROR])}
    health = {
        "200": {"description": "It serves.", "content": _as_json(*_health_body("ok"))},
        "503": {
            "description": "The event store does not answer.",
            "content": _as_json(*_health_body("unavailable")),
        },
    }
    document = {
        "200": {
            "description": "OpenAPI 3.1.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    }
    return {
        HEALTH_PATH: _describe_service_path("health", "Liveness and readiness.", health | internal),
        OPENAPI_PATH: _describe_service_path("openapi", "This document.", document | internal),
    }


def _describe_service_path(name: str, summary: str, responses: Json) -> Json:
    return {
        "get": {
            "operationId": name,
            "tags": ["service"],
            "summary": summary,
            "security": [],
            "responses": responses,
        }
    }


def _health_body(state: str) -> tuple[Json, Json]:
    names = ("status", "store")
    schema = {
        "type": "object",
        "properties": {name: {"const": state} for name in names},
        "required": list(names),
    }
    return schema, dict.fromkeys(names, state)


def _as_json(schema: Json, example: Json) -> Json:
    return {"application/json": {"schema": schema, "example": example}}


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": _SCHEMAS + model.__name__}
