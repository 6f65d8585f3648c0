"""What travels between a client and the API: names, limits, shapes and error codes.

It imports pydantic and the standard library only. Client, MCP server and API build on it.
"""
