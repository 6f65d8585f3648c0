"""Tokens as a model counts them: o200k, from a package that brings its vocabulary along."""

from collections.abc import Callable
from functools import cache

ENCODING = "o200k_base"


def count_tokens(text: str) -> int:
    """How many tokens the text is."""
    return len(_find_encode()(text))


@cache
def _find_encode() -> Callable[[str], list[int]]:
    import bpe_openai  # type: ignore[import-untyped] # noqa: PLC0415 - it loads three vocabularies

    encode: Callable[[str], list[int]] = bpe_openai.get_encoding(ENCODING).encode
    return encode
