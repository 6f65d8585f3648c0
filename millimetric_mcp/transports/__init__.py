"""How clients reach the server: stdio, HTTP+SSE and Streamable HTTP, and who is let in."""
