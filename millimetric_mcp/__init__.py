"""Millimetric for agents: an MCP server, and an embedded, wire-compatible HTTP API."""

__all__ = ["__version__"]

__version__ = "0.1.0"
