"""What a text costs a model, estimated: no vocabulary is at hand, so pieces are counted."""

import re

_PIECE = re.compile(r"[^\r\n\w]?[^\W\d_]+|\d{1,3}| ?[^\s\w]+[\r\n/]*|_+|\s+")
"""What o200k first splits a text into."""
_LETTERS_A_TOKEN = 7
_SIGNS_A_TOKEN = 3
_TOKENS_OF_SCRIPTS = (("\u0250", 0.9), ("\u2e80", 0.55), ("\U0001f000", 1.1))
"""Of a character before that one: accented Latin; Greek to Thai; Chinese, Japanese, Korean."""
_TOKENS_OF_EMOJI = 2.0
_MARGIN = 1.1
"""Long words are more than one token: the plain count is a tenth too low on events."""


def estimate_tokens(text: str) -> int:
    """About how many tokens of o200k the text is, rather too many than too few."""
    return int(_MARGIN * sum(map(_cost, _PIECE.findall(text))))


def _cost(piece: str) -> float:
    if not piece.isascii():
        return _cost_of_scripts(piece)
    letters = sum(map(str.isalpha, piece))
    return 1 + (letters - 1) // _LETTERS_A_TOKEN if letters else -(-len(piece) // _SIGNS_A_TOKEN)


def _cost_of_scripts(piece: str) -> float:
    plain = sum(map(str.isascii, piece))
    others = sum(_cost_of_char(char) for char in piece if not char.isascii())
    return max(1.0, plain / _LETTERS_A_TOKEN + others)


def _cost_of_char(char: str) -> float:
    for end, cost in _TOKENS_OF_SCRIPTS:
        if char < end:
            return cost
    return _TOKENS_OF_EMOJI
