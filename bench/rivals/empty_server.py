"""The least an MCP server can be: one tool that does nothing, on the same class as ours."""

from typing import Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)


async def list_tools(
    _context: ServerRequestContext[Any], _params: PaginatedRequestParams | None
) -> ListToolsResult:
    """One tool without arguments."""
    schema = {"type": "object", "properties": {}}
    return ListToolsResult(tools=[Tool(name="nothing", input_schema=schema)])


async def call_tool(
    _context: ServerRequestContext[Any], _params: CallToolRequestParams
) -> CallToolResult:
    """Nothing."""
    return CallToolResult(content=[TextContent(type="text", text="")])


async def serve() -> None:
    """Serves stdio until its end."""
    server: Server[Any] = Server("empty", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (read_stream, write_stream):
        await server.run(read_stream, write_stream, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(serve)
