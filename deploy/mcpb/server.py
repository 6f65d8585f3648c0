"""Starts the MCP server in a bundle; uv has installed the package beside it."""

import sys

from millimetric_mcp.cli import main

sys.exit(main([]))
