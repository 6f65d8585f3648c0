"""The async client of the Millimetric HTTP API, and how its responses are read."""

from millimetric_mcp.client.client import MillimetricClient

__all__ = ["MillimetricClient"]
