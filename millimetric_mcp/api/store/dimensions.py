"""What an event can be grouped and filtered by, as expressions over the columns of its row."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from millimetric_mcp.api.ingest.channels import list_channel_rules
from millimetric_mcp.api.ingest.classify import DENIALS, PAID_MEDIUMS, PAID_WORDS
from millimetric_mcp.contract.attribution import TrafficChannel
from millimetric_mcp.contract.filters import (
    FILTERS,
    NUMERIC,
    PROPERTY_PREFIX,
    Condition,
    Operator,
)
from millimetric_mcp.contract.reads import PaidProof

TOUCH_COLUMNS = ("source", "medium", "campaign", "source_rule_id", "source_confidence")
"""The columns that an attribution takes from a touch."""

AT = "toUnixTimestamp64Milli(timestamp)"
"""The event's time in milliseconds since 1970 UTC."""
IN_ORDER = "reinterpretAsFixedString(byteSwap({}))"
"""Eight bytes of a number of at least 0: texts that begin with them are in its order."""
SESSION = f"""if(
    session_id = '',
    cityHash64(visitor, intDiv({AT}, 1800000)),
    cityHash64(session_id)
)"""
"""A hash of the session: as sent, else visitor and 30-minute slot."""

_COMPARISONS = {
    Operator.GREATER: ">",
    Operator.AT_LEAST: ">=",
    Operator.LESS: "<",
    Operator.AT_MOST: "<=",
}
_NUMBER_TYPES = "('Int64', 'UInt64', 'Double')"


@dataclass(slots=True)
class Binding:
    """Values bound to a statement, each under its own name."""

    values: dict[str, Any] = field(default_factory=dict)

    def bind(self, value: Any, kind: str = "String") -> str:  # noqa: ANN401
        """Return the placeholder of a value; an equal one is bound once."""
        for name, bound in self.values.items():
            if name.startswith("v") and bound == value and type(bound) is type(value):
                return f"{{{name}:{kind}}}"
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{kind}}}"


class Computed(NamedTuple):
    """A column that is computed from ``columns`` of an event's row.

    ``write`` returns its expression; it gets an IANA time zone, which only some columns use.
    """

    columns: tuple[str, ...]
    write: Callable[[Binding, str], str]


COMPUTED: Mapping[str, Computed] = {
    "channel": Computed(("source", "medium"), lambda binding, _zone: _channel(binding)),
    "host": Computed(("url",), lambda _binding, _zone: "lower(domain(url))"),
    "hour_of_day": Computed(
        ("timestamp",), lambda binding, zone: f"toHour(timestamp, {binding.bind(zone)})"
    ),
    "weekday": Computed(
        ("timestamp",), lambda binding, zone: f"toDayOfWeek(timestamp, 0, {binding.bind(zone)})"
    ),
    "paid_proof": Computed(("medium", "url"), lambda binding, _zone: _paid_proof(binding)),
    # The statement joins it: see `people.join_landing`.
    "landing_path": Computed((), lambda _binding, _zone: "landing_path"),
}
"""The group columns and filter columns that are not stored, by name."""


def express(name: str, binding: Binding, *, timezone: str | None = None) -> str:
    """Return the expression of a group column or filter column."""
    if name.startswith(PROPERTY_PREFIX):
        return _property_text(name.removeprefix(PROPERTY_PREFIX), binding)
    computed = COMPUTED.get(name)
    return computed.write(binding, timezone or "UTC") if computed else name


def list_columns(name: str) -> tuple[str, ...]:
    """Return the stored columns that a group column or filter column is computed from."""
    if name.startswith(PROPERTY_PREFIX):
        return ("properties",)
    column = FILTERS.get(name, name)
    return COMPUTED[column].columns if column in COMPUTED else (column,)


def express_number(key: str, binding: Binding) -> str:
    """Return the expression of a property's number; null if it is absent or no number."""
    path = _bind_path(key, binding)
    number = f"JSONExtractFloat(properties, {path})"
    return f"if(JSONType(properties, {path}) IN {_NUMBER_TYPES}, {number}, NULL)"


def express_conditions(conditions: Iterable[Condition], binding: Binding) -> list[str]:
    """Return one condition for each filter."""
    return [_express_condition(condition, binding) for condition in conditions]


def _express_condition(condition: Condition, binding: Binding) -> str:
    name, operator, values = condition
    if operator in NUMERIC:
        number = express_number(name.removeprefix(PROPERTY_PREFIX), binding)
        compared = (
            f"{number} {_COMPARISONS[operator]} {binding.bind(float(value), 'Float64')}"
            for value in values
        )
        return _any(f"ifNull({one}, 0)" for one in compared)
    text = express(FILTERS.get(name, name), binding)
    if operator is Operator.EXISTS:
        return _any(f"isNotNull({text}) = {int(value == 'true')}" for value in values)
    if name.startswith(PROPERTY_PREFIX):
        text = f"ifNull({text}, '')"
    if operator is Operator.PREFIX:
        return _any(f"startsWith({text}, {binding.bind(value)})" for value in values)
    if operator is Operator.CONTAINS:
        return _any(f"position({text}, {binding.bind(value)}) > 0" for value in values)
    word = "NOT IN" if operator is Operator.NOT else "IN"
    return f"{text} {word} {binding.bind(list(values), 'Array(String)')}"


def _any(conditions: Iterable[str]) -> str:
    return f"({' OR '.join(conditions)})"


def _property_text(key: str, binding: Binding) -> str:
    """Return a property as text: a string as it is, others as JSON; null if absent or null."""
    path = _bind_path(key, binding)
    raw = f"JSONExtractRaw(properties, {path})"
    text = f"JSONExtractString(properties, {path})"
    return f"multiIf({raw} IN ('', 'null'), NULL, startsWith({raw}, '\"'), {text}, {raw})"


def _bind_path(key: str, binding: Binding) -> str:
    return ", ".join(binding.bind(part) for part in key.split("."))


def _channel(binding: Binding) -> str:
    branches: list[str] = []
    for rule in list_channel_rules():
        listed = [
            f"{column} IN {binding.bind(sorted(names), 'Array(String)')}"
            for column, names in (("source", rule.sources), ("medium", rule.mediums))
            if names is not None
        ]
        branches += [" AND ".join(listed), f"'{rule.channel}'"]
    return f"multiIf({', '.join([*branches, repr(TrafficChannel.OTHER.value)])})"


def _paid_proof(binding: Binding) -> str:
    """Return the expression of `PaidProof`; the classifier's `is_paid` in SQL."""
    tag = "extractURLParameter(replaceAll(ifNull(url, ''), '&amp;', '&'), 'utm_medium')"
    text = f"replaceRegexpAll(lower(decodeURLFormComponent({tag})), '[ -]', '_')"
    lists = (PAID_MEDIUMS, PAID_WORDS, DENIALS)
    mediums, words, denials = (binding.bind(sorted(each), "Array(String)") for each in lists)
    found = f"extractAll({text}, '[a-z]+')"
    is_paid = (
        f"startsWith({text}, 'paid') OR {text} IN {mediums}"
        f" OR hasAny({found}, {words}) AND NOT hasAny({found}, {denials})"
    )
    return (
        f"multiIf({is_paid}, '{PaidProof.UTM_MEDIUM}',"
        f" medium = 'paid', '{PaidProof.CLICK_ID}', '{PaidProof.NOT_PAID}')"
    )


def join_list(items: Sequence[str], *, indent: int = 4) -> str:
    """Return items one a line, with commas between them."""
    space = "\n" + " " * indent
    return "".join(f"{space}{item}," for item in items).removesuffix(",")
