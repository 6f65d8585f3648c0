"""Write the parts of docs and skills that come from the code: tables and the OpenAPI document.

Run it as ``.venv/bin/python scripts/docs.py``. With ``--check`` it writes nothing, and fails if a
file is out of date.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from millimetric_mcp.api.openapi import build_openapi
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.columns import SHOWN_COLUMNS
from millimetric_mcp.contract.endpoints import ENDPOINTS, TRACK, Endpoint
from millimetric_mcp.contract.keys import SCOPES, KeyKind, Scope
from millimetric_mcp.contract.rules import RULES
from millimetric_mcp.mcp.tools import TOOLS
from millimetric_mcp.mcp.tools.json_schema import FlatJsonSchema
from millimetric_mcp.settings import (
    ApiSettings,
    NewKeySettings,
    ServeSettings,
    Settings,
    StoreSettings,
    list_settings,
)

ROOT = Path(__file__).resolve().parent.parent
READS = [endpoint for endpoint in ENDPOINTS if endpoint.scope is Scope.READ]


def main() -> int:
    """Return 0, or with ``--check`` 1 if a file is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a file is out of date"
    )
    check = parser.parse_args().check
    stale = [(path, text) for path, text in render_all() if read(path) != text]
    for path, text in stale:
        if check:
            print(f"{path} is out of date. Run scripts/docs.py and commit it.", file=sys.stderr)
        else:
            (ROOT / path).write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    return 1 if stale and check else 0


def read(path: str) -> str | None:
    """Return a file's text, or None if there is no such file."""
    file = ROOT / path
    return file.read_text(encoding="utf-8") if file.exists() else None


def render_all() -> Iterator[tuple[str, str]]:
    """Yield each generated file's path and its text as the code says it now."""
    parts: dict[str, dict[str, Callable[[], str]]] = {
        "README.md": {"tools": render_tools},
        "docs/ask.md": {
            f"arguments {tool.name}": partial(render_arguments, tool.input_schema) for tool in TOOLS
        },
        "docs/attribution.md": {"rules": render_rules},
        "docs/reference.md": {
            "endpoints": render_endpoints,
            "event-columns": render_columns,
            "errors": render_errors,
        },
        "docs/send-events.md": {"event-fields": render_event_fields},
        "docs/settings.md": {"settings": render_settings},
        "skills/millimetric-mcp-setup/SKILL.md": {"tools": render_tools_of_keys},
        "skills/millimetric-query/references/attribution.md": {
            "click-id-rules": lambda: render_rules("gclid", "yclid"),
            "campaign-rules": lambda: render_rules("fb_ad_redirect", "utm_explicit"),
            "referrer-rules": lambda: render_rules("ref_facebook", "ref_other"),
        },
        "skills/millimetric-query/references/columns.md": {"event-columns": render_columns},
        "skills/millimetric-query/references/parameters.md": {
            "parameters-of-several": partial(render_parameters, is_shared),
            "parameters": partial(render_parameters, is_of_hosted),
            "parameters-of-people": partial(render_parameters, is_own),
        },
        "skills/millimetric-track/SKILL.md": {"event-fields": render_names_of_event_fields},
        "skills/millimetric-track/references/fields.md": {"event-fields": render_event_fields},
    }
    for path, renderers in parts.items():
        yield path, fill(path, renderers)
    yield "docs/openapi.json", json.dumps(build_openapi(), indent=2, ensure_ascii=False) + "\n"


def fill(path: str, parts: dict[str, Callable[[], str]]) -> str:
    """Return a file's text with each part between ``<!-- name -->`` markers rendered again."""
    text = (ROOT / path).read_text(encoding="utf-8")
    for name, render in parts.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found_start, rest = text.partition(start)
        _, found_end, after = rest.partition(end)
        if not (found_start and found_end):
            raise SystemExit(f"{path} needs the lines {start.strip()} and {end}.")
        text = f"{before}{start}{render()}\n{end}{after}"
    return text


def render_tools() -> str:
    rows = [
        (
            f"`{tool.name}`",
            "`rk_`" if tool.scope == "read" else "`sk_`",
            tool.description.partition(". ")[0].rstrip(".") + ".",
        )
        for tool in TOOLS
    ]
    return table(("tool", "key", "does"), rows)


def render_tools_of_keys() -> str:
    names = {
        kind: [f"`{tool.name}`" for tool in TOOLS if tool.scope in scopes]
        for kind, scopes in SCOPES.items()
        if kind is not KeyKind.PK
    }
    return table(("key", "tools"), [(f"`{kind}_`", ", ".join(of)) for kind, of in names.items()])


def render_arguments(schema: Mapping[str, Any]) -> str:
    rows = [
        (
            f"`{name}`" + (" (required)" if name in schema.get("required", ()) else ""),
            describe_type(written),
            written.get("description", ""),
        )
        for name, written in schema["properties"].items()
    ]
    return table(("argument", "value", "meaning"), rows)


def describe_type(written: Mapping[str, Any]) -> str:
    """Return a schema's values in a few words, and its default."""
    if "enum" in written or "const" in written:
        kind = ", ".join(f"`{value}`" for value in written.get("enum", [written.get("const")]))
    elif written["type"] == "array":
        items = written["items"]
        of = describe_type(items) if "enum" in items else "objects" * (items["type"] == "object")
        kind = f"a list of {of or 'texts'}"
    else:
        kind = TYPE_NAMES[written["type"]]
        if "maximum" in written:
            kind += f", {written['minimum']} to {written['maximum']}"
        if "maxLength" in written:
            least = f"{written['minLength']} to" if "minLength" in written else "at most"
            kind += f", {least} {written['maxLength']} characters"
    return kind + (f"; default `{json.dumps(written['default'])}`" if "default" in written else "")


TYPE_NAMES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
}


def render_event_fields() -> str:
    return render_arguments(flat_schema(TRACK))


def render_names_of_event_fields() -> str:
    schema = flat_schema(TRACK)
    required = schema["required"]
    optional = [name for name in schema["properties"] if name not in required]
    return f"Required: {in_code(required)}. Optional: {in_code(optional)}."


def render_parameters(which: Callable[[Sequence[str]], bool] = bool) -> str:
    """Return the parameters of the reads whose endpoints' paths ``which`` accepts."""
    endpoints: dict[tuple[str, str, str], list[str]] = {}
    for endpoint in READS:
        schema = flat_schema(endpoint)
        for name, written in schema["properties"].items():
            is_required = name in schema["required"]
            key = (
                f"`{name}`" + (" (required)" if is_required else ""),
                describe_type(written),
                written["description"],
            )
            endpoints.setdefault(key, []).append(endpoint.path)
    rows = [
        (name, "all" if len(paths) == len(READS) else in_code(paths), value, meaning)
        for (name, value, meaning), paths in endpoints.items()
        if which(paths)
    ]
    return table(("parameter", "endpoint", "value", "meaning"), rows)


def is_shared(paths: Sequence[str]) -> bool:
    return len(paths) > 2


def is_of_hosted(paths: Sequence[str]) -> bool:
    return not is_shared(paths) and paths[0] in HOSTED_READS


def is_own(paths: Sequence[str]) -> bool:
    return not is_shared(paths) and paths[0] not in HOSTED_READS


HOSTED_READS = ("/v1/sources", "/v1/stats", "/v1/query")


def flat_schema(endpoint: Endpoint[Any, Any]) -> dict[str, Any]:
    """Return the schema of an endpoint's request, without references and nulls."""
    schema: dict[str, Any] = endpoint.request.model_json_schema(schema_generator=FlatJsonSchema)
    return schema


def in_code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def render_endpoints() -> str:
    rows = [
        (
            f"`{endpoint.method} {endpoint.path}`",
            ", ".join(f"`{kind}_`" for kind, scopes in SCOPES.items() if endpoint.scope in scopes),
            f"`{endpoint.status}`",
            endpoint.summary,
        )
        for endpoint in ENDPOINTS
    ]
    return table(("endpoint", "keys", "success", "does"), rows)


def render_columns() -> str:
    rows = [
        (f"`{column.name}`", "yes" if column.nullable else "", column.meaning)
        for column in SHOWN_COLUMNS
    ]
    return table(("column", "can be null", "meaning"), rows)


def render_settings() -> str:
    heads = ("variable", "option", "value", "default", "meaning")
    sections: list[tuple[str, type[Settings]]] = [
        ("`millimetric-mcp serve`: the MCP server", ServeSettings),
        ("`millimetric-mcp api`: the HTTP API", ApiSettings),
        ("`millimetric-mcp migrate`: the event store's schema", StoreSettings),
        ("`millimetric-mcp keys`: API keys", NewKeySettings),
    ]
    return "\n\n".join(
        f"## {title}\n\n{table(heads, settings_of(model))}" for title, model in sections
    )


def settings_of(model: type[Settings]) -> Iterable[tuple[str, ...]]:
    for setting in list_settings(model):
        yield (
            f"`{setting.variable}`",
            f"`{setting.option}`" if setting.option else "",
            setting.form,
            setting.default_text,
            setting.help,
        )


def render_errors() -> str:
    rows = [(", ".join(map(str, code.statuses)), f"`{code}`", code.meaning) for code in ErrorCode]
    return table(("status", "`error`", "meaning"), rows)


def render_rules(first: str = RULES[0].rule_id, last: str = RULES[-1].rule_id) -> str:
    """Return a table of the rules from ``first`` to ``last``, in their order."""
    ids = [rule.rule_id for rule in RULES]
    rows = [
        (f"`{rule.rule_id}`", rule.fires_when, f"`{rule.result}`", rule.confidence.value)
        for rule in RULES[ids.index(first) : ids.index(last) + 1]
    ]
    return table(("rule id", "fires when", "source / medium", "confidence"), rows)


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(map(escape, line))} |" for line in lines)


def escape(cell: str) -> str:
    """Return the cell so that its bars do not end the column."""
    return cell.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
