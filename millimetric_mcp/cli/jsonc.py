"""Small edits of a JSON file that a person wrote: comments, order and layout stay as they are.

JSON with comments and JSON5 are read too: comments, trailing commas, single quotes, bare names.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["InvalidJson", "append_item", "parse", "set_member"]

_SPACE = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_REST_OF_LINE = re.compile(r"[ \t]*(?://[^\n]*|/\*[^\n]*?\*/[ \t]*)?(?=\r?\n|$)")
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'', re.DOTALL)
_WORD = re.compile(r"[^\s\[\]{}:,\"'/]+")
_INDENT = re.compile(r"[ \t]*")
_MAX_DEPTH = 200


class InvalidJson(ValueError):
    """The text is not JSON; ``line`` counts from 1."""

    def __init__(self, text: str, at: int, expected: str = "JSON") -> None:
        self.line = text.count("\n", 0, at) + 1
        super().__init__(f"not valid in line {self.line}, where {expected} is expected")


@dataclass(slots=True)
class _Node:
    """A value, and where it stands. ``children`` of an object begin with their names."""

    start: int
    end: int = 0
    value: Any = None
    children: "list[tuple[int, _Node]]" = field(default_factory=list)
    members: "dict[str, _Node]" = field(default_factory=dict)
    last_comma: int = -1


def parse(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of the whole text.

    Raises:
        InvalidJson: it is no JSON, nor JSON with comments, nor JSON5.
    """
    return _parse_root(text).value


def set_member(text: str, path: Sequence[str], value: object) -> str:
    """Return the text with a member of its object set; missing objects of the path are added.

    Raises:
        InvalidJson: the text, or a value on the path, is not an object.
    """
    node = _parse_root(text)
    for depth, name in enumerate(path):
        if not isinstance(node.value, dict):
            raise InvalidJson(text, node.start, "an object")
        if name not in node.members:
            for missing in reversed(path[depth + 1 :]):
                value = {missing: value}
            return _insert(text, node, value, name=name)
        node = node.members[name]
    if node.value == value:
        return text
    return (
        text[: node.start] + _render(text, value, _indent_at(text, node.start)) + text[node.end :]
    )


def append_item(text: str, name: str, item: Mapping[str, object]) -> str:
    """Return the text with an item at the end of a list of its object.

    Raises:
        InvalidJson: the text is not an object, or the member not a list.
    """
    node = _parse_root(text).members.get(name)
    if node is None:
        return set_member(text, (name,), [item])
    if not isinstance(node.value, list):
        raise InvalidJson(text, node.start, "a list")
    return _insert(text, node, item)


def _insert(text: str, parent: _Node, value: object, *, name: str | None = None) -> str:
    """Return the text with one more child, after the last one and its comment."""
    newline = "\r\n" if "\r\n" in text else "\n"
    outer = _indent_at(text, parent.start)
    label = "" if name is None else json.dumps(name, ensure_ascii=False) + ": "
    if not parent.children:
        inner = outer + _unit(text)
        added = f"{newline}{inner}{label}{_render(text, value, inner)}"
        inside = text[parent.start + 1 : parent.end - 1].rstrip()
        closing = text[parent.end - 1 :]
        return text[: parent.start + 1] + added + inside + newline + outer + closing
    first, last = parent.children[0][0], parent.children[-1][1]
    has_comma = parent.last_comma > last.start
    after = parent.last_comma + 1 if has_comma else last.end
    rest = _REST_OF_LINE.match(text, after)
    is_own_line = not text[text.rfind("\n", 0, first) + 1 : first].strip()
    if rest is None or not is_own_line:  # all on one line
        comma, end = ("", ",") if has_comma else (",", "")
        one_line = json.dumps(value, ensure_ascii=False)
        return f"{text[:after]}{comma} {label}{one_line}{end}{text[after:]}"
    inner = _indent_at(text, first)
    added = f"{newline}{inner}{label}{_render(text, value, inner)}" + ("," if has_comma else "")
    comma = "" if has_comma else ","
    return text[: last.end] + comma + text[last.end : rest.end()] + added + text[rest.end() :]


def _render(text: str, value: object, indent: str) -> str:
    lines = json.dumps(value, indent=_unit(text), ensure_ascii=False).split("\n")
    return ("\r\n" if "\r\n" in text else "\n").join([lines[0], *(indent + x for x in lines[1:])])


def _unit(text: str) -> str:
    """Return the text's indentation: that of its first indented line, or two spaces."""
    found = re.search(r"\n([ \t]+)[\"'\w]", text)
    return found[1] if found else "  "


def _indent_at(text: str, at: int) -> str:
    found = _INDENT.match(text, text.rfind("\n", 0, at) + 1)
    return found[0] if found else ""


def _parse_root(text: str) -> _Node:
    at = _skip(text, 1 if text.startswith("\ufeff") else 0)
    root = _parse_value(text, at, depth=0)
    end = _skip(text, root.end)
    if end != len(text):
        raise InvalidJson(text, end)
    return root


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _parse_value(text: str, at: int, *, depth: int) -> _Node:
    if depth > _MAX_DEPTH:
        raise InvalidJson(text, at)
    opening = text[at : at + 1]
    if opening == "{":
        return _parse_children(text, at, closing="}", depth=depth)
    if opening == "[":
        return _parse_children(text, at, closing="]", depth=depth)
    value, end = _parse_scalar(text, at)
    return _Node(at, end, value)


def _parse_children(text: str, start: int, *, closing: str, depth: int) -> _Node:
    node = _Node(start)
    at = _skip(text, start + 1)
    while text[at : at + 1] != closing:
        if node.children and node.last_comma < node.children[-1][1].end:
            raise InvalidJson(text, at)  # no comma before it
        child_start, name = at, None
        if closing == "}":
            name, at = _parse_scalar(text, at)
            at = _skip(text, at)
            if text[at : at + 1] != ":":
                raise InvalidJson(text, at)
            at = _skip(text, at + 1)
        child = _parse_value(text, at, depth=depth + 1)
        node.children.append((child_start, child))
        if name is not None:
            node.members[str(name)] = child
        at = _skip(text, child.end)
        if text[at : at + 1] == ",":
            node.last_comma, at = at, _skip(text, at + 1)
    node.end = at + 1
    values = {name: child.value for name, child in node.members.items()}
    node.value = values if closing == "}" else [child.value for _, child in node.children]
    return node


def _parse_scalar(text: str, at: int) -> tuple[Any, int]:
    """Return a string, number or word, and its end. Words that JSON does not know stay texts."""
    found = _STRING.match(text, at) or _WORD.match(text, at)
    if found is None:
        raise InvalidJson(text, at)
    written = found[0]
    if written.startswith("'"):
        written = '"' + written[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
    try:
        return json.loads(written), found.end()
    except ValueError:
        return written, found.end()
