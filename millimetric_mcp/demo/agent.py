"""An MCP client of the product's own server: what an agent's host does, without the agent."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client import ClientRequestContext
from mcp_types import CallToolResult, ElicitRequestParams, ElicitResult, TextContent

from millimetric_mcp.demo.deployment import Api, Keys, clean_environment, own_command
from millimetric_mcp.errors import DemoFailed

READ_TIMEOUT_S = 60.0
TOLD_LINES = 12


@dataclass(frozen=True, slots=True)
class Agent:
    """A connected MCP client."""

    client: Client

    async def list_tools(self) -> list[str]:
        """The names of the server's tools, in its order."""
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def call(self, tool: str, arguments: Mapping[str, object]) -> dict[str, Any]:
        """The tool's structured answer.

        Raises:
            DemoFailed: the tool answered with an error; with what it said.
        """
        try:
            result = await self.client.call_tool(tool, dict(arguments))
        except MCPError as error:
            raise DemoFailed(f"{tool} failed: {error}") from None
        if result.is_error or not isinstance(result.structured_content, dict):
            raise DemoFailed(f"{tool} answered with an error: {_read_text(result)}")
        return result.structured_content


def _read_text(result: CallToolResult) -> str:
    return " ".join(part.text for part in result.content if isinstance(part, TextContent))


@asynccontextmanager
async def connect_agent(
    api: Api,
    keys: Keys,
    *,
    environ: Mapping[str, str],
    on_question: Callable[[str], None],
) -> AsyncIterator[Agent]:
    """``millimetric-mcp`` as a stdio child, spoken to until the context ends.

    The keys travel in the child's environment, never on its command line. Whatever the
    server asks its user is shown to ``on_question`` and agreed to.

    Raises:
        DemoFailed: the server can't be started or spoken to; with what it wrote to stderr.
    """
    command, *arguments = own_command()
    credentials = {
        "MILLIMETRIC_HOST": api.url,
        "MILLIMETRIC_KEY": keys.write,
        "MILLIMETRIC_RK": keys.read,
    }
    child = StdioServerParameters(
        command=command,
        args=arguments,
        env=clean_environment(environ) | credentials,
        cwd=api.data_dir.parent,
    )

    async def agree(
        context: ClientRequestContext,  # noqa: ARG001 - the SDK's signature
        params: ElicitRequestParams,
    ) -> ElicitResult:
        on_question(params.message)
        return ElicitResult(action="accept", content={})

    log = api.data_dir.parent / "mcp.log"
    failure: DemoFailed | None = None
    with log.open("w", encoding="utf-8") as errors:
        try:
            async with Client(
                stdio_client(child, errlog=errors),
                read_timeout_seconds=READ_TIMEOUT_S,
                elicitation_callback=agree,
            ) as client:
                try:
                    yield Agent(client)
                except DemoFailed as error:
                    failure = error  # inside, the client's task groups would wrap it
        except (MCPError, ExceptionGroup):
            failure = DemoFailed(f"the MCP server failed{_read_log(log)}")
    if failure is not None:
        raise failure


def _read_log(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TOLD_LINES:]
    return "; it wrote:" + "".join(f"\n  {line}" for line in lines) if lines else ""
