"""The product's server with the fixtures of the official conformance suite attached.

The suite calls tools, resources and prompts by fixed names. They are served beside the product's,
through the same server, transport and access checks. Only `scripts/interop` uses this.

    python tests/interop/conformance_server.py    # prints the base URL and serves until SIGTERM
"""

import asyncio
import base64
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    BlobResourceContents,
    CallToolRequestParams,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    Completion,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    EmbeddedResource,
    EmptyResult,
    GetPromptRequestParams,
    GetPromptResult,
    ImageContent,
    InputRequiredResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListRootsRequest,
    ListToolsResult,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    PaginatedRequestParams,
    Prompt,
    PromptArgument,
    PromptMessage,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    Tool,
    UnsubscribeRequestParams,
)

from millimetric_mcp.client.client import MillimetricClient
from millimetric_mcp.mcp.access import Access
from millimetric_mcp.mcp.http import build_http_app, build_http_transports
from millimetric_mcp.mcp.server import Caller, build_server
from millimetric_mcp.settings import LogLevel
from millimetric_mcp.web.log import Log
from millimetric_mcp.web.serve import configure, listen, serve, write_url

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJ"
    "RU5ErkJggg=="
)
WAV = base64.b64encode(
    b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0@\x1f\0\0\1\0\x08\0data\0\0\0\0"
).decode()
STEP_S = 0.05

Context = Any
ToolRun = Callable[
    [Context, CallToolRequestParams], Awaitable[CallToolResult | InputRequiredResult]
]
TOOLS: dict[str, tuple[dict[str, Any], ToolRun]] = {}


def tool(name: str, **properties: dict[str, Any]) -> Callable[[ToolRun], ToolRun]:
    """Registers a fixture tool; every property is required."""

    def register(run: ToolRun) -> ToolRun:
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        TOOLS[name] = (schema, run)
        return run

    return register


def say(*content: Any, is_error: bool = False) -> CallToolResult:
    blocks = [TextContent(text=part) if isinstance(part, str) else part for part in content]
    return CallToolResult(content=blocks, is_error=is_error)


def embed(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


def ask(message: str, **properties: dict[str, Any]) -> ElicitRequest:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(prompt: str, max_tokens: int = 100) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(text=prompt))
    return CreateMessageRequest(
        params=CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    )


def want(state: str | None = None, **requests: Any) -> InputRequiredResult:
    return InputRequiredResult(input_requests=requests or None, request_state=state)


def answers(params: Any) -> dict[str, Any]:
    return params.input_responses or {}


def accepted(params: Any, key: str, field: str) -> str | None:
    answer = answers(params).get(key)
    if isinstance(answer, ElicitResult) and answer.action == "accept" and answer.content:
        value = answer.content.get(field)
        return value if isinstance(value, str) else None
    return None


# --- Content ---------------------------------------------------------------------------------


@tool("test_simple_text")
async def simple_text(_ctx: Context, _params: CallToolRequestParams) -> CallToolResult:
    return say("This is a simple text response for testing.")


@tool("test_image_content")
async def image(_ctx: Context, _params: CallToolRequestParams) -> CallToolResult:
    return say(ImageContent(data=PNG, mime_type="image/png"))


@tool("test_audio_content")
async def audio(_ctx: Context, _params: CallToolRequestParams) -> CallToolResult:
    return say(AudioContent(data=WAV, mime_type="audio/wav"))


@tool("test_embedded_resource")
async def embedded(_ctx: Context, _params: CallToolRequestParams) -> CallToolResult:
    text = "This is an embedded resource content."
    return say(embed("test://embedded-resource", "text/plain", text))


@tool("test_multiple_content_types")
async def mixed(_ctx: Context, _params: CallToolRequestParams) -> CallToolResult:
    text = json.dumps({"test": "data", "value": 123})
    return say(
        "Multiple content types test:",
        ImageContent(data=PNG, mime_type="image/png"),
        embed("test://mixed-content-resource", "application/json", text),
    )


@tool("test_error_handling")
async def error(_ctx: Context, _params: CallToolRequestParams) -> CallToolResult:
    return say("This tool intentionally returns an error for testing", is_error=True)


# --- While it runs ---------------------------------------------------------------------------


async def log(ctx: Context, text: str) -> None:
    """A log message on the request's own stream, where its era and log level allow one."""
    if ctx.protocol_version >= "2026" and not (ctx.meta or {}).get(
        "io.modelcontextprotocol/logLevel"
    ):
        return
    params = LoggingMessageNotificationParams(level="info", data=text)
    await ctx.session.send_notification(
        LoggingMessageNotification(params=params), related_request_id=ctx.request_id
    )


@tool("test_tool_with_logging")
async def with_logging(ctx: Context, _params: CallToolRequestParams) -> CallToolResult:
    for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await log(ctx, text)
        await anyio.sleep(STEP_S)
    return say("logged")


@tool("test_logging_tool")
async def logging_tool(ctx: Context, _params: CallToolRequestParams) -> CallToolResult:
    await log(ctx, "a log message")
    return say("logged")


@tool("test_tool_with_progress")
async def with_progress(ctx: Context, _params: CallToolRequestParams) -> CallToolResult:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100)
        await anyio.sleep(STEP_S)
    return say("done")


# --- Asking the client -----------------------------------------------------------------------


@tool("test_sampling", prompt={"type": "string"})
async def sampling(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    result = await ctx.session.send_request(
        sample((params.arguments or {})["prompt"]),
        CreateMessageResult,
        metadata=ServerMessageMetadata(related_request_id=ctx.request_id),
    )
    return say(f"LLM response: {getattr(result.content, 'text', '')}")


async def elicit(ctx: Context, message: str, properties: dict[str, Any]) -> CallToolResult:
    schema = {"type": "object", "properties": properties, "required": []}
    result = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
    content = json.dumps(result.content)
    return say(f"Elicitation completed: action={result.action}, content={content}")


@tool("test_elicitation", message={"type": "string"})
async def elicitation(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    text = {"type": "string"}
    return await elicit(ctx, (params.arguments or {})["message"], {"username": text, "email": text})


@tool("test_elicitation_sep1034_defaults")
async def defaults(ctx: Context, _params: CallToolRequestParams) -> CallToolResult:
    status = {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"}
    return await elicit(
        ctx,
        "Please confirm the defaults",
        {
            "name": {"type": "string", "default": "John Doe"},
            "age": {"type": "integer", "default": 30},
            "score": {"type": "number", "default": 95.5},
            "status": status,
            "verified": {"type": "boolean", "default": True},
        },
    )


@tool("test_elicitation_sep1330_enums")
async def enums(ctx: Context, _params: CallToolRequestParams) -> CallToolResult:
    options = ["option1", "option2", "option3"]
    titled = [
        {"const": f"value{number}", "title": f"{word} Option"}
        for number, word in enumerate(("First", "Second", "Third"), 1)
    ]
    names = ["Option One", "Option Two", "Option Three"]
    legacy = {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": names}
    return await elicit(
        ctx,
        "Please choose",
        {
            "untitledSingle": {"type": "string", "enum": options},
            "titledSingle": {"type": "string", "oneOf": titled},
            "legacyEnum": legacy,
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
            "titledMulti": {"type": "array", "items": {"anyOf": titled}},
        },
    )


# --- Ending the call with a question (2026-07-28) --------------------------------------------


@tool("test_input_required_result_elicitation")
async def ask_name(
    _ctx: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    name = accepted(params, "user_name", "name")
    question = ask("What is your name?", name={"type": "string"})
    return say(f"Hello, {name}!") if name else want(user_name=question)


@tool("test_input_required_result_sampling")
async def ask_model(
    _ctx: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    if answer := answers(params).get("capital_question"):
        return say(f"The model says: {getattr(answer.content, 'text', '')}")
    return want(capital_question=sample("What is the capital of France?"))


@tool("test_input_required_result_list_roots")
async def ask_roots(
    _ctx: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    if answer := answers(params).get("client_roots"):
        return say("Roots: " + ", ".join(str(root.uri) for root in answer.roots))
    return want(client_roots=ListRootsRequest())


async def confirm(params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
    if params.request_state == "asked" and "confirm" in answers(params):
        return say("state-ok")
    return want("asked", confirm=ask("Please confirm", ok={"type": "boolean"}))


@tool("test_input_required_result_request_state")
async def keep_state(
    _ctx: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    return await confirm(params)


@tool("test_input_required_result_tampered_state")
async def guard_state(
    _ctx: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    return await confirm(params)


@tool("test_input_required_result_multiple_inputs")
async def ask_many(
    _ctx: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    if {"user_name", "greeting", "client_roots"} <= set(answers(params)):
        return say("all answered")
    return want(
        "asked",
        user_name=ask("What is your name?", name={"type": "string"}),
        greeting=sample("Generate a greeting", 50),
        client_roots=ListRootsRequest(),
    )


@tool("test_input_required_result_multi_round")
async def ask_twice(
    _ctx: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    if params.request_state == "second" and "step2" in answers(params):
        return say("both answered")
    if params.request_state == "first" and "step1" in answers(params):
        color = {"type": "string"}
        return want("second", step2=ask("Step 2: What is your favorite color?", color=color))
    return want("first", step1=ask("Step 1: What is your name?", name={"type": "string"}))


@tool("test_input_required_result_capabilities")
async def ask_what_is_declared(
    ctx: Context, _params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    declared = ctx.session.client_capabilities
    requests: dict[str, Any] = {}
    if declared and declared.elicitation is not None:
        requests["question"] = ask("Which one?", one={"type": "string"})
    if declared and declared.sampling is not None:
        requests["sample"] = sample("Which one?")
    return want(**requests) if requests else say("nothing can be asked")


@tool("test_missing_capability")
async def need_sampling(ctx: Context, _params: CallToolRequestParams) -> CallToolResult:
    declared = ctx.session.client_capabilities
    if declared is None or declared.sampling is None:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            "sampling is needed",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return say("sampling is declared")


@tool("test_streaming_elicitation")
async def stream_and_ask(
    ctx: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    await ctx.session.report_progress(1, 2)
    return await ask_name(ctx, params)


# --- Resources and prompts -------------------------------------------------------------------

RESOURCES = {
    "test://static-text": TextResourceContents(
        uri="test://static-text",
        mime_type="text/plain",
        text="This is the content of the static text resource.",
    ),
    "test://static-binary": BlobResourceContents(
        uri="test://static-binary", mime_type="image/png", blob=PNG
    ),
    "test://watched-resource": TextResourceContents(
        uri="test://watched-resource", mime_type="text/plain", text="watched"
    ),
}
TEMPLATE = ResourceTemplate(
    uri_template="test://template/{id}/data", name="template", mime_type="application/json"
)


def read_template(uri: str) -> TextResourceContents | None:
    parts = uri.removeprefix("test://template/").split("/")
    if not uri.startswith("test://template/") or len(parts) != 2:
        return None
    data = {"id": parts[0], "templateTest": True, "data": f"Data for ID: {parts[0]}"}
    return TextResourceContents(uri=uri, mime_type="application/json", text=json.dumps(data))


def build_prompt(*contents: Any) -> GetPromptResult:
    blocks = [TextContent(text=part) if isinstance(part, str) else part for part in contents]
    return GetPromptResult(messages=[PromptMessage(role="user", content=block) for block in blocks])


def fill_prompt(
    params: GetPromptRequestParams,
) -> GetPromptResult | InputRequiredResult | None:
    given = params.arguments or {}
    match params.name:
        case "test_simple_prompt":
            return build_prompt("This is a simple prompt for testing.")
        case "test_prompt_with_arguments":
            text = f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'"
            return build_prompt(text)
        case "test_prompt_with_embedded_resource":
            text = "Embedded resource content for testing."
            return build_prompt(
                embed(given["resourceUri"], "text/plain", text),
                "Please process the embedded resource above.",
            )
        case "test_prompt_with_image":
            image_block = ImageContent(data=PNG, mime_type="image/png")
            return build_prompt(image_block, "Please analyze the image above.")
        case "test_input_required_result_prompt":
            context = accepted(params, "user_context", "context")
            question = ask("What context should the prompt use?", context={"type": "string"})
            return build_prompt(f"Context: {context}") if context else want(user_context=question)
    return None


PROMPTS: dict[str, tuple[str, ...]] = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
    "test_input_required_result_prompt": (),
}


# --- Beside the product's --------------------------------------------------------------------


class Fixtures:
    """Serves the fixtures' names; the product serves all others."""

    def __init__(self, server: Server[Any]) -> None:
        self._server = server
        self._ours: dict[str, Callable[..., Awaitable[Any]]] = {
            method: entry.handler
            for method in (
                "tools/list",
                "tools/call",
                "resources/list",
                "resources/read",
                "prompts/list",
                "prompts/get",
                "completion/complete",
            )
            if (entry := server.get_request_handler(method))
        }

    def attach(self) -> None:
        add = self._server.add_request_handler
        add("tools/list", PaginatedRequestParams, self.list_tools)
        add("tools/call", CallToolRequestParams, self.call_tool)
        add("resources/list", PaginatedRequestParams, self.list_resources)
        add("resources/templates/list", PaginatedRequestParams, self.list_templates)
        add("resources/read", ReadResourceRequestParams, self.read_resource)
        add("resources/subscribe", SubscribeRequestParams, self.accept)
        add("resources/unsubscribe", UnsubscribeRequestParams, self.accept)
        add("prompts/list", PaginatedRequestParams, self.list_prompts)
        add("prompts/get", GetPromptRequestParams, self.get_prompt)
        add("completion/complete", CompleteRequestParams, self.complete)
        add("logging/setLevel", SetLevelRequestParams, self.accept)

    async def list_tools(self, ctx: Context, params: PaginatedRequestParams) -> ListToolsResult:
        result: ListToolsResult = await self._ours["tools/list"](ctx, params)
        fixtures = [
            Tool(name=name, description="Fixture.", input_schema=schema)
            for name, (schema, _) in TOOLS.items()
        ]
        return result.model_copy(update={"tools": [*result.tools, *fixtures]})

    async def call_tool(self, ctx: Context, params: CallToolRequestParams) -> Any:
        if params.name in TOOLS:
            return await TOOLS[params.name][1](ctx, params)
        return await self._ours["tools/call"](ctx, params)

    async def list_resources(
        self, ctx: Context, params: PaginatedRequestParams
    ) -> ListResourcesResult:
        result: ListResourcesResult = await self._ours["resources/list"](ctx, params)
        fixtures = [
            Resource(uri=uri, name=uri, description="Fixture.", mime_type=contents.mime_type)
            for uri, contents in RESOURCES.items()
        ]
        return result.model_copy(update={"resources": [*result.resources, *fixtures]})

    async def list_templates(
        self, _ctx: Context, _params: PaginatedRequestParams
    ) -> ListResourceTemplatesResult:
        return ListResourceTemplatesResult(resource_templates=[TEMPLATE])

    async def read_resource(self, ctx: Context, params: ReadResourceRequestParams) -> Any:
        contents = RESOURCES.get(params.uri) or read_template(params.uri)
        if contents:
            return ReadResourceResult(contents=[contents])
        return await self._ours["resources/read"](ctx, params)

    async def list_prompts(self, ctx: Context, params: PaginatedRequestParams) -> ListPromptsResult:
        result: ListPromptsResult = await self._ours["prompts/list"](ctx, params)
        fixtures = [
            Prompt(
                name=name,
                description="Fixture.",
                arguments=[PromptArgument(name=argument, required=True) for argument in arguments],
            )
            for name, arguments in PROMPTS.items()
        ]
        return result.model_copy(update={"prompts": [*result.prompts, *fixtures]})

    async def get_prompt(self, ctx: Context, params: GetPromptRequestParams) -> Any:
        return fill_prompt(params) or await self._ours["prompts/get"](ctx, params)

    async def complete(self, ctx: Context, params: CompleteRequestParams) -> Any:
        if getattr(params.ref, "name", "").startswith("test_"):
            return CompleteResult(completion=Completion(values=["paris", "park", "party"]))
        return await self._ours["completion/complete"](ctx, params)

    async def accept(self, _ctx: Context, _params: Any) -> EmptyResult:
        return EmptyResult()


def answer_nothing(_request: httpx.Request) -> httpx.Response:
    """An API without events."""
    headers = {"content-type": "application/json"}
    return httpx.Response(200, headers=headers, stream=httpx.ByteStream(b'{"rows":[]}'))


def announce(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


async def main() -> None:
    client = MillimetricClient(
        api_url="http://api.test",
        write_key=None,
        read_key="rk_test_FIXTURE0_" + "f" * 32,
        transport=httpx.MockTransport(answer_nothing),
    )
    server = build_server(find_caller=lambda _: Caller(client))
    Fixtures(server).attach()
    access = Access()
    log = Log(LogLevel.OFF, print)
    app = build_http_app(build_http_transports(server, access=access), access=access, log=log)
    with listen("127.0.0.1", 0) as listener:
        await serve(configure(app), listener, on_ready=lambda: announce(write_url(listener)))


if __name__ == "__main__":
    asyncio.run(main())
