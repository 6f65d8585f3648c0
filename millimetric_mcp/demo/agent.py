"""An MCP client of ``millimetric-mcp``, in the place of an AI agent."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client import ClientRequestContext
from mcp_types import ElicitRequestParams, ElicitResult

from millimetric_mcp.demo import api_process
from millimetric_mcp.demo.api_process import Api, Keys
from millimetric_mcp.errors import DemoFailed

READ_TIMEOUT_S = 60.0


@asynccontextmanager
async def connect_agent(
    api: Api, keys: Keys, *, environ: Mapping[str, str], on_question: Callable[[str], None]
) -> AsyncIterator[Client]:
    """Start ``millimetric-mcp`` on stdio and yield a client that is connected to it.

    ``on_question`` gets each question that the server asks its user; the client says yes.

    Raises:
        DemoFailed: the server did not start, or the connection broke.
    """

    async def accept(
        context: ClientRequestContext,  # noqa: ARG001 - the SDK's signature
        params: ElicitRequestParams,
    ) -> ElicitResult:
        on_question(params.message)
        return ElicitResult(action="accept", content={})

    command, *arguments = api_process.own_command()
    server = StdioServerParameters(
        command=command,
        args=arguments,
        env=api_process.clean_environment(environ) | keys.to_environment(api.url),
        cwd=api.data_dir.parent,
    )
    log = api.data_dir.parent / "mcp.log"
    failure: Exception | None = None
    with log.open("w", encoding="utf-8") as errors:
        try:
            async with Client(
                stdio_client(server, errlog=errors),
                read_timeout_seconds=READ_TIMEOUT_S,
                elicitation_callback=accept,
            ) as client:
                try:
                    yield client
                except Exception as error:  # noqa: BLE001 - raised below; here it would be wrapped
                    failure = error
        except (MCPError, ExceptionGroup):
            failure = DemoFailed(f"the MCP server failed{api_process.quote_log(log)}")
    if failure is not None:
        raise failure
