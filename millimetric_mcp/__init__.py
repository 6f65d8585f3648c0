"""Millimetric analytics for agents: an MCP server, an HTTP API, and an async client of it.

The client, its requests and its errors are loaded at the first use, so that commands start fast::

    from millimetric_mcp import MillimetricClient, TrackEvent
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millimetric_mcp.client import MillimetricClient
    from millimetric_mcp.contract.events import ForgetRequest, IdentifyRequest, TrackEvent
    from millimetric_mcp.contract.imports import ImportRequest, ImportUndoRequest
    from millimetric_mcp.contract.reads import (
        FunnelParams,
        QueryParams,
        RetentionParams,
        SchemaParams,
        SourcesParams,
        StatsParams,
    )
    from millimetric_mcp.errors import (
        ApiError,
        CallError,
        KeyMissing,
        MillimetricError,
        UncertainWrite,
        UnknownExtension,
        UpstreamError,
    )

__all__ = [
    "ApiError",
    "CallError",
    "ForgetRequest",
    "FunnelParams",
    "IdentifyRequest",
    "ImportRequest",
    "ImportUndoRequest",
    "KeyMissing",
    "MillimetricClient",
    "MillimetricError",
    "QueryParams",
    "RetentionParams",
    "SchemaParams",
    "SourcesParams",
    "StatsParams",
    "TrackEvent",
    "UncertainWrite",
    "UnknownExtension",
    "UpstreamError",
    "__version__",
]

__version__ = "0.1.0"

_MODULES = {
    "MillimetricClient": "client",
    "ForgetRequest": "contract.events",
    "IdentifyRequest": "contract.events",
    "TrackEvent": "contract.events",
    "ImportRequest": "contract.imports",
    "ImportUndoRequest": "contract.imports",
    "FunnelParams": "contract.reads",
    "QueryParams": "contract.reads",
    "RetentionParams": "contract.reads",
    "SchemaParams": "contract.reads",
    "SourcesParams": "contract.reads",
    "StatsParams": "contract.reads",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
