"""JSON text as clients really send it: a byte order mark in front, emoji cut in two."""

import re
from codecs import BOM_UTF8

# An escaped backslash, a whole pair of surrogates, or a lone one (the group).
_ESCAPE = re.compile(
    rb"\\(?:\\|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


def repair_json(text: bytes) -> bytes:
    r"""Return JSON text without a byte order mark, and with ``\ufffd`` for each lone surrogate.

    JavaScript writes a lone surrogate when it cuts a text in the middle of an emoji. The repaired
    text has the same length, apart from the mark.
    """
    text = text.removeprefix(BOM_UTF8)
    if rb"\ud" not in text and rb"\uD" not in text:
        return text
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], text)


def replace_surrogates(text: str) -> str:
    """Return the text with pairs of surrogates joined, and U+FFFD for each lone one."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
