"""JSON Schemas of a tool's arguments and results, written from their models."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


class FlatJsonSchema(GenerateJsonSchema):
    """Writes schemas without titles, null branches and references, which cost a model tokens.

    An optional field may be absent; the schema does not offer null. The docstrings of models are
    for readers of the code and stay out; the descriptions of fields are for models.
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
