"""JSON Schemas of a tool's arguments and results, written from their models alone."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


class FlatJsonSchema(GenerateJsonSchema):
    """Schemas without titles, null branches and references: what a model has to read.

    An optional field is one that is absent, never one that is null. A model's docstring is
    for readers of the code and stays out; a field's description is the schema's.
    """

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - overrides
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        written = super().default_schema(schema)
        if written.get("default", ...) is None or written.get("default") == []:
            del written["default"]
        return written

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        written = super().generate(schema, mode)
        definitions = {
            name: _without(definition, "title", "description")
            for name, definition in written.pop("$defs", {}).items()
        }
        flat: JsonSchemaValue = _inline(_without(written, "title", "description"), definitions)
        return flat


def _without(written: JsonSchemaValue, *names: str) -> JsonSchemaValue:
    return {name: value for name, value in written.items() if name not in names}


def _inline(node: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(node, list):
        return [_inline(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        node = definitions[reference.removeprefix("#/$defs/")] | _without(node, "$ref")
    return {name: _inline(value, definitions) for name, value in node.items()}


def write_input_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The schema a caller's arguments have to meet."""
    return model.model_json_schema(by_alias=True, schema_generator=FlatJsonSchema)


def write_output_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The schema a tool's structured result meets when dumped without nulls."""
    return model.model_json_schema(
        by_alias=True, mode="serialization", schema_generator=FlatJsonSchema
    )
