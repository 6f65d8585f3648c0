"""What a text costs a model, estimated: no vocabulary is at hand, so pieces are counted."""

import re

_PIECE = re.compile(
    r"[^\r\n\w]?(?:[A-Z]*[a-z]+|[A-Z]+|[^\W\d_]+)|\d{1,3}| ?[^\s\w]+[\r\n/]*|_+|\s+"
)
"""What o200k first splits a text into."""
_LETTERS_A_TOKEN = 6
_SIGNS_A_TOKEN = 3
_TOKENS_OF_SCRIPTS = (
    ("\u00c0", 1.0),
    ("\u0250", 2.2),
    ("\u1200", 0.6),
    ("\u1780", 3.0),
    ("\u2e80", 0.6),
    ("\U0001f000", 1.1),
)
"""Of a character before that one: signs; accented Latin; Greek to Georgian; Ethiopic and others few
write; Khmer to signs; Chinese to Korean."""
_TOKENS_OF_EMOJI = 2.0
_TOKENS_A_WORD = 1.2
"""Words are often more than one token, and so is a word with the sign before it."""


def estimate_tokens(text: str) -> int:
    """About how many tokens of o200k the text is, rather too many than too few."""
    return int(sum(map(_cost, _PIECE.findall(text))))


def _cost(piece: str) -> float:
    if not piece.isascii():
        return _cost_of_scripts(piece)
    letters = sum(map(str.isalpha, piece))
    if letters:
        return _TOKENS_A_WORD * (1 + (letters - 1) // _LETTERS_A_TOKEN)
    return -(-len(piece) // _SIGNS_A_TOKEN)


def _cost_of_scripts(piece: str) -> float:
    plain = sum(char.isascii() and not char.isspace() for char in piece)
    others = sum(_cost_of_char(char) for char in piece if not char.isascii())
    return max(1.0, plain / (_LETTERS_A_TOKEN if any(map(str.isalpha, piece)) else 1) + others)


def _cost_of_char(char: str) -> float:
    for end, cost in _TOKENS_OF_SCRIPTS:
        if char < end:
            return cost
    return _TOKENS_OF_EMOJI
