"""Invisible and control characters become visible escapes; nothing else changes."""

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millimetric_mcp.contract.reads import StatsRow
from millimetric_mcp.mcp.render.untrusted import clean, escape_invisible, present

ESCAPES = {
    "line feed": ("a\nb", r"a\nb"),
    "carriage return": ("a\rb", r"a\rb"),
    "tab": ("a\tb", r"a\tb"),
    "nul": ("a\0b", r"a\u0000b"),
    "ANSI colour": ("\x1b[31mred", r"\u001b[31mred"),
    "ANSI title": ("\x1b]0;owned\x07", r"\u001b]0;owned\u0007"),
    "C1 control": ("\x9b31m", r"\u009b31m"),
    "delete": ("\x7f", r"\u007f"),
    "next line": ("a\x85b", r"a\u0085b"),
    "line separator": ("a\u2028b", r"a\u2028b"),
    "paragraph separator": ("a\u2029b", r"a\u2029b"),
    "right-to-left override": ("\u202egpj.exe", r"\u202egpj.exe"),
    "bidi embedding": ("\u202a\u202b\u202c\u202d", r"\u202a\u202b\u202c\u202d"),
    "bidi isolate": ("\u2066\u2067\u2068\u2069", r"\u2066\u2067\u2068\u2069"),
    "bidi marks": ("\u200e\u200f\u061c", r"\u200e\u200f\u061c"),
    "zero width": ("a\u200bb\u200cc\u200dd\u2060e", r"a\u200bb\u200cc\u200dd\u2060e"),
    "soft hyphen": ("pay\u00adpal", r"pay\u00adpal"),
    "byte order mark": ("\ufeffa", r"\ufeffa"),
    "tags": ("\U000e0041\U000e007f", r"\udb40\udc41\udb40\udc7f"),
    "variation selectors that hide text": ("a\U000e0100\ufe01", r"a\udb40\udd00\ufe01"),
    "invisible fillers": ("\u115f\u3164\uffa0", r"\u115f\u3164\uffa0"),
    "lone surrogate": ("a\ud800b", r"a\ud800b"),
}


@pytest.mark.parametrize(("text", "shown"), ESCAPES.values(), ids=ESCAPES.keys())
def test_invisible_character_is_shown_as_its_json_escape(text, shown):
    assert escape_invisible(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "Zürich 東京 שלום مرحبا",
        "😀 ❤️ é n\u0303",
        "50 % – «x» …",
        'a "b" \\n, {}',
        "a\u00a0b",
    ],
)
def test_visible_text_is_not_changed(text):
    assert escape_invisible(text) == text


def test_every_control_format_surrogate_and_line_character_is_escaped():
    harmful = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    chars = [chr(code) for code in range(sys.maxunicode + 1)]
    text = "".join(char for char in chars if unicodedata.category(char) in harmful)
    assert escape_invisible(text).isascii()
    assert escape_invisible(text).isprintable()


@given(st.text(st.characters()))
def test_escaped_text_has_no_invisible_character_and_is_not_escaped_again(text):
    shown = escape_invisible(text)
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert escape_invisible(shown) == shown


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.none())))
def test_escaped_json_has_the_same_value(value):
    assert json.loads(escape_invisible(json.dumps(value, ensure_ascii=False))) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("12345", "12345"),
        ("123456", "12345…[+1]"),
        ("12345" + "x" * 123, "12345…[+123]"),
        ("1234\n6", r"1234\n…[+1]"),
    ],
)
def test_long_value_is_cut_and_the_mark_counts_the_missing_characters(text, shown):
    assert clean(text, max_chars=5) == shown


def test_present_returns_the_set_fields_with_clean_texts():
    row = StatsRow(bucket="2026-05-16T00:00:00.000Z", path="/\u202e" + "x" * 10, value=3)
    assert present(row, max_cell_chars=4) == {
        "bucket": "2026…[+20]",
        "path": r"/\u202exx…[+8]",
        "value": 3,
    }
