"""The MCP server: tools, prompts and resources over the HTTP API, on stdio and over HTTP."""
