"""Millimetric analytics for agents: an MCP server, an HTTP API, and an async client of it.

The client and its errors are loaded at the first use, so that commands start without them::

    from millimetric_mcp import MillimetricClient
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millimetric_mcp.client import MillimetricClient
    from millimetric_mcp.errors import (
        ApiError,
        CallError,
        KeyMissing,
        MillimetricError,
        UncertainWrite,
        UpstreamError,
    )

__all__ = [
    "ApiError",
    "CallError",
    "KeyMissing",
    "MillimetricClient",
    "MillimetricError",
    "UncertainWrite",
    "UpstreamError",
    "__version__",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    module = "client" if name == "MillimetricClient" else "errors"
    return getattr(import_module(f"{__name__}.{module}"), name)
