"""Tokens as a model counts them: o200k, from a package that brings its vocabulary along."""

from functools import cache

import bpe_openai  # type: ignore[import-untyped]

ENCODING = "o200k_base"


@cache
def _encoding() -> bpe_openai.Encoding:
    return bpe_openai.get_encoding(ENCODING)


def count_tokens(text: str) -> int:
    """How many tokens the text is."""
    return len(_encoding().encode(text))
