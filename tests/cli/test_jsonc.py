"""Small edits of JSON that a person wrote."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millimetric_mcp.cli import jsonc

NEW = {"command": "x"}


ADDED = '"n": {\n      "command": "x"\n    }'
CASES = {
    "empty": ("{}", '{\n  "s": {\n    "n": {\n      "command": "x"\n    }\n  }\n}'),
    "comment": (
        '{\n  // why\n  "s": {\n    "a": 1 // one\n  }\n}',
        f'{{\n  // why\n  "s": {{\n    "a": 1, // one\n    {ADDED}\n  }}\n}}',
    ),
    "trailing comma": (
        '{\n  "s": {\n    "a": [1, 2,], /* two */\n  },\n}',
        f'{{\n  "s": {{\n    "a": [1, 2,], /* two */\n    {ADDED},\n  }},\n}}',
    ),
    "tabs": (
        '{\n\t"s": {\n\t\t"a": 1\n\t}\n}',
        '{\n\t"s": {\n\t\t"a": 1,\n\t\t"n": {\n\t\t\t"command": "x"\n\t\t}\n\t}\n}',
    ),
    "one line": ('{"s": {"a": 1}}', '{"s": {"a": 1, "n": {"command": "x"}}}'),
    "json5": ("{s: {'a': +1,}}", '{s: {\'a\': +1, "n": {"command": "x"},}}'),
    "crlf": (
        '{\r\n  "s": {\r\n    "a": 1\r\n  }\r\n}',
        f'{{\n  "s": {{\n    "a": 1,\n    {ADDED}\n  }}\n}}'.replace("\n", "\r\n"),
    ),
    "only a comment": (
        '{\n  "s": {\n    // none yet\n  }\n}',
        f'{{\n  "s": {{\n    {ADDED}\n    // none yet\n  }}\n}}',
    ),
    "old value": (
        '{\n  "s": {\n    "n": {"command": "old"} /* ours */\n  }\n}',
        f'{{\n  "s": {{\n    {ADDED} /* ours */\n  }}\n}}',
    ),
}


@pytest.mark.parametrize(("before", "after"), CASES.values(), ids=CASES)
def test_a_member_is_added_and_the_rest_of_the_text_stays(before, after):
    changed = jsonc.set_member(before, ("s", "n"), NEW)

    assert changed == after
    assert jsonc.parse(changed)["s"]["n"] == NEW


def test_the_text_stays_when_the_member_has_the_value():
    text = '{ "s": {"n":{"command" : "x"}} } // end'

    assert jsonc.set_member(text, ("s", "n"), NEW) == text


def test_an_item_is_added_after_the_last_one():
    text = '{\n  "inputs": [\n    {"id": "a"} // first\n  ]\n}\n'

    changed = jsonc.append_item(text, "inputs", {"id": "b"})

    assert jsonc.parse(changed)["inputs"] == [{"id": "a"}, {"id": "b"}]
    assert '{"id": "a"}, // first\n' in changed


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("{", 1),
        ('{\n"a" 1}', 2),
        ('{"a": 1}\n}', 2),
        ('{"a": 1 "b": 2}', 1),
        ("[" * 5000, 1),
        ('{"a": "x\n"}', 1),
    ],
    ids=["empty", "open", "no colon", "two", "no comma", "deep", "open text"],
)
def test_invalid_json_is_named_with_its_line(text, line):
    with pytest.raises(jsonc.InvalidJson) as raised:
        jsonc.set_member(text, ("s",), 1)

    assert raised.value.line == line


def test_a_value_on_the_path_that_is_no_object_is_refused():
    with pytest.raises(jsonc.InvalidJson):
        jsonc.set_member('{"s": 1}', ("s", "n"), NEW)


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@example({}, 2, ["", "\u2028"])
@given(
    st.dictionaries(st.text(max_size=4), VALUES, max_size=4),
    st.sampled_from([None, 1, 2, 4, "\t"]),
    st.lists(st.text(max_size=4), min_size=1, max_size=2),
)
def test_an_edit_changes_one_value_in_any_json(root, indent, path):
    text = json.dumps(root, indent=indent) + " // end"
    expected = json.loads(json.dumps(root))
    parent = expected
    for name in path[:-1]:
        if name in parent and not isinstance(parent[name], dict):
            return
        parent = parent.setdefault(name, {})
    parent[path[-1]] = NEW

    changed = jsonc.set_member(text, path, NEW)

    assert jsonc.parse(changed) == expected
    assert changed.endswith(" // end")
    assert json.loads(changed.removesuffix(" // end")) == expected
