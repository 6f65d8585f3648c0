"""The API's own description: the contract's endpoints, models and codes as OpenAPI 3.1."""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from millimetric_mcp import __version__
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import ENDPOINTS, Endpoint
from millimetric_mcp.contract.keys import SCOPES, Scope
from millimetric_mcp.contract.reads import GroupColumn
from millimetric_mcp.contract.validation import check_absolute_url

Json = dict[str, Any]
AnyEndpoint = Endpoint[Any, Any]

_SCHEMAS = "#/components/schemas/"
_DETAILS_AND_ALLOWED: Json = {
    "allOf": [{"$ref": f"{_SCHEMAS}ErrorDetails"}],
    "properties": {"allowed": {"type": "array", "items": {"enum": list(GroupColumn)}}},
    "required": ["allowed"],
}
_RETRY_AFTER: Json = {"type": "integer", "minimum": 1, "description": "Seconds to wait."}
_REFERENCE: Json = {"type": "string", "description": "The line in the log has the same one."}
_EXTRAS: Mapping[ErrorCode, Json] = {
    ErrorCode.INVALID_PAYLOAD: {"details": {"$ref": f"{_SCHEMAS}ErrorDetails"}},
    ErrorCode.INVALID_PARAMS: {"details": {"$ref": f"{_SCHEMAS}ErrorDetails"}},
    ErrorCode.INVALID_GROUP_BY: {"details": _DETAILS_AND_ALLOWED},
    ErrorCode.ORIGIN_NOT_ALLOWED: {"origin": {"type": "string"}},
    ErrorCode.IMPORT_BUSY: {"retry_after_s": _RETRY_AFTER},
    ErrorCode.RATE_LIMITED: {"retry_after_s": _RETRY_AFTER},
    ErrorCode.DAILY_LIMIT_REACHED: {"retry_after_s": _RETRY_AFTER},
    ErrorCode.TOO_MANY_NAMES: {"details": {"$ref": f"{_SCHEMAS}ErrorDetails"}},
    ErrorCode.UPSTREAM_FAILED: {"retry_after_s": _RETRY_AFTER},
}
_HEADERS: Mapping[int, Json] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}},
    409: {"Retry-After": {"required": True, "schema": _RETRY_AFTER}},
    429: {"Retry-After": {"required": True, "schema": _RETRY_AFTER}},
    503: {"Retry-After": {"required": True, "schema": _RETRY_AFTER}},
}


@cache
def render_openapi() -> bytes:
    """Return the document as it is served and committed, byte for byte."""
    return (json.dumps(build_openapi(), indent=2, ensure_ascii=False) + "\n").encode()


def build_openapi() -> Json:
    """Return the document: every endpoint with each status, header, body and example it has."""
    document = tomllib.loads((resources.files(__package__) / "openapi.toml").read_text("utf-8"))
    document["info"]["version"] = __version__
    schemas = _describe_bodies()
    operations = {
        endpoint.path: {endpoint.method.lower(): _describe_operation(endpoint, schemas)}
        for endpoint in ENDPOINTS
    }
    for methods in document["paths"].values():
        for operation in methods.values():
            failure = _describe_failure(500, [ErrorCode.INTERNAL_ERROR])
            operation["responses"]["500"] = failure
    document["paths"] = operations | document["paths"]
    schemas |= document["components"]["schemas"] | _describe_errors()
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document


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
        if name == "filters":  # each filter is its own parameter
            parameter |= {"style": "form", "explode": True}
        if name in endpoint.request_example:
            parameter["example"] = endpoint.request_example[name]
        elif "examples" in described:
            [parameter["example"]] = described.pop("examples")
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
    described: Json = {}
    for code in ErrorCode:
        extras = dict(_EXTRAS.get(code, {}))
        # 503 says how long to wait, 502 does not.
        certain = [name for name in extras if code is not ErrorCode.UPSTREAM_FAILED]
        if code.statuses[0] >= 500:
            extras["reference"] = _REFERENCE
            certain.append("reference")
        described[_error_name(code)] = {
            "type": "object",
            "description": code.meaning,
            "properties": {"error": {"const": code.value}} | extras,
            "required": ["error", *certain],
        }
    return described


def _error_name(code: ErrorCode) -> str:
    return "Error" + "".join(part.capitalize() for part in code.value.split("_"))


def _as_json(schema: Json, example: Mapping[str, Any]) -> Json:
    return {"application/json": {"schema": schema, "example": example}}
