"""A tool's arguments: how they are read, and what an error says about them."""

import json
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

from millimetric_mcp.contract.attribution import AttributionModel
from millimetric_mcp.contract.filters import FILTERS, Filters
from millimetric_mcp.contract.json_text import repair_json
from millimetric_mcp.contract.reads import Bots
from millimetric_mcp.contract.validation import FieldError, list_field_errors
from millimetric_mcp.errors import InvalidArguments
from millimetric_mcp.mcp.render.table import percent
from millimetric_mcp.mcp.render.untrusted import clean
from millimetric_mcp.mcp.tools.tool import DataT, ParamsT, Tool
from millimetric_mcp.mcp.window import Window

MAX_LISTED_ERRORS = 20
MAX_FIELD_CHARS = 80
MAX_UNKNOWN = 100

SourceName = Annotated[
    str, StringConstraints(strip_whitespace=True, to_lower=True, min_length=1, max_length=2048)
]
"""A source or medium, in the form in which the API stores it."""


def _read_absent(value: object) -> object:
    return None if isinstance(value, str) and value.strip() in {"", "null"} else value


TimeText = Annotated[str | None, BeforeValidator(_read_absent)]
"""A time or a zone, for which neither a blank text nor the word null stands."""


class Arguments(BaseModel):
    """A tool's arguments. Unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class WindowArguments(Arguments):
    """The window of time of a read tool. The default is the last 30 days."""

    from_: TimeText = Field(
        None,
        alias="from",
        description="Start: ISO 8601, a date, a length before now (24h, 46d, 4w, 3mo), today, "
        "yesterday, this_week (from Monday), this_month, last_month…; default 30d.",
    )
    to: TimeText = Field(
        None,
        description="End, exclusive, same forms; default: now (7d ends now), or the named "
        "period's end.",
    )
    timezone: TimeText = Field(None, description="IANA zone of dates, days and weeks.")


FILTERS_HINT = (
    'E.g. {"country": "DE", "path[prefix]": "/blog", "properties.plan": ["pro", "team"], '
    f'"properties.amount[gte]": 10}}: columns ({", ".join(FILTERS)}) and properties.KEY; '
    "[not], [prefix], [contains], [exists], [gt], [gte], [lt], [lte]."
)


ATTRIBUTION_HINT = (
    "Source that an event counts for: its own, its session's first, or its person's first or last "
    "within lookback_days (server events have none of their own)."
)


class QuestionArguments(WindowArguments):
    """A window, and which of its events to look at."""

    filters: Annotated[Filters, WithJsonSchema({"type": "object"})] = Field(
        default_factory=dict, description="Only matching events; see stats."
    )
    bots: Bots = Field(Bots.EXCLUDE, description="Automated clients.")

    def ask(self, window: Window) -> dict[str, Any]:
        """Return the parameters of the API that these arguments share."""
        return {
            "from_": window.start_utc,
            "to": window.end_utc,
            "filters": self.filters,
            "bots": self.bots,
        }


class AttributedArguments(QuestionArguments):
    """Arguments of a question that can count events for the touch that brought their person."""

    attribution: AttributionModel = Field(
        AttributionModel.EVENT,
        description="Which source an event counts for; see stats.",
    )
    lookback_days: int = Field(30, strict=True, ge=1, le=365, description="Oldest source.")

    def ask(self, window: Window) -> dict[str, Any]:
        """Return the parameters of the API that these arguments share."""
        return super().ask(window) | {
            "attribution": self.attribution,
            "lookback_days": self.lookback_days,
        }

    def describe_attribution(
        self, no_touch_share: float | None, *, columns: Collection[str], what: str = "event"
    ) -> list[str]:
        """Return a sentence about the model, the look-back and the share without a touch.

        ``columns`` are those of the rows: events of their own source need it only there. ``what``
        is what counts for a touch.
        """
        model = _MODELS.get(self.attribution)
        if model is None:
            return (
                []
                if _SOURCE_COLUMNS.isdisjoint(columns)
                else [f"Each {what} counts for its own source."]
            )
        days = f" (looking back {self.lookback_days} days)"
        share = "" if no_touch_share is None else f"; {percent(no_touch_share)} had none: direct"
        return [f"Each {what} counts for {model}{days}{share}."]


_SOURCE_COLUMNS = frozenset(
    {"source", "medium", "campaign", "channel", "source_rule_id", "source_confidence", "paid_proof"}
)
_MODELS = {
    AttributionModel.SESSION: "the first outside source of its session",
    AttributionModel.FIRST_TOUCH: "the first source that brought its person",
    AttributionModel.LAST_TOUCH: "the last source that brought its person before it",
}


class BriefWindow(WindowArguments):
    """A window like that of stats, whose list of forms is not repeated for each tool."""

    from_: TimeText = Field(None, alias="from", description="As in stats; default 30d.")
    to: TimeText = Field(None, description="As in stats.")
    timezone: TimeText = Field(None, description="IANA zone.")


def parse_arguments(tool: Tool[ParamsT, DataT], given: Mapping[str, Any]) -> ParamsT:
    """Return the arguments of a call as the tool's model.

    Null, an empty text that can't be a value, and a missing argument are the same. If an argument
    is not a text, JSON text is read as its value, and a comma list as a list. An empty list is an
    empty object, as PHP writes it; where a list is expected, it is a missing argument.

    Raises:
        InvalidArguments: it names every wrong argument.
    """
    schema = tool.input_schema
    try:
        return tool.params.model_validate(_read_fields(given, schema["properties"]))
    except ValidationError as error:
        errors = list_field_errors(error)
    sentences = [_describe(error, schema) for error in errors[:MAX_LISTED_ERRORS]]
    rest = len(errors) - len(sentences)
    raise InvalidArguments(sentences + [f"and {rest} more"] * bool(rest))


def _read_fields(given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, object]:
    """Return the values that are present; unknown ones as they are.

    Raises:
        InvalidArguments: there are so many unknown ones that naming each takes long.
    """
    if len(given) - len(known) > MAX_UNKNOWN:
        raise InvalidArguments([f"{len(given)} arguments are too many; valid: {', '.join(known)}"])
    read = {
        name: _read(value, known[name]) if name in known else value for name, value in given.items()
    }
    return {name: value for name, value in read.items() if value is not None or name not in known}


def _read(value: object, schema: Mapping[str, Any]) -> object:
    kind = schema.get("type")
    if isinstance(value, str):
        value = _read_string(value, schema) if kind == "string" else _read_json(value, kind)
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "object" and value == []:
        return {}
    if kind == "object" and "properties" in schema and isinstance(value, dict):
        return _read_fields(value, schema["properties"])
    if kind == "array" and isinstance(value, list):
        items = _read_list(value, schema["items"])
        return items if items or "minItems" in schema else None
    return value


def _read_list(values: list[object], schema: Mapping[str, Any]) -> list[object]:
    if "properties" in schema:
        return [_read(item, schema) for item in values]
    if schema.get("type") != "string":
        return values
    given = [item for item in values if item is not None]
    parts = [item.split(",") if isinstance(item, str) else [item] for item in given]
    return [part.strip() if isinstance(part, str) else part for item in parts for part in item]


def _read_string(value: str, schema: Mapping[str, Any]) -> str | None:
    if value and value != "null":
        return value
    is_closed = not {"enum", "format", "pattern"}.isdisjoint(schema)
    return None if is_closed or (not value and "minLength" in schema) else value


def _read_json(value: str, kind: str | None) -> object:
    text = value.lower() if kind == "boolean" else value  # Python writes True
    try:
        return json.loads(repair_json(text.encode())) if text else None
    except (ValueError, RecursionError):
        return [part.strip() for part in value.split(",")] if kind == "array" else value


def _describe(error: FieldError, schema: Mapping[str, Any]) -> str:
    field = clean(error.field, max_chars=MAX_FIELD_CHARS)
    if error.kind != "extra_forbidden":
        return f"{field}: {error.message}" if field else error.message
    *parents, name = error.field.split(".")
    for parent in parents:
        inner = schema["properties"].get(parent.partition("[")[0], schema)
        inner = inner.get("items", inner)
        schema = inner if "properties" in inner else schema
    valid = list(schema["properties"])
    nearest = get_close_matches(name.lower(), valid, n=1, cutoff=0.6)
    hint = f"did you mean {nearest[0]}?" if nearest else f"valid: {', '.join(valid)}"
    return f"{field}: no such argument; {hint}"
