"""What commands print for programs."""

import json

__all__ = ["print_json"]


def print_json(value: object) -> None:
    """Write a value as one line of JSON on standard output, at once."""
    print(json.dumps(value), flush=True)
