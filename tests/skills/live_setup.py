"""The set-up skill: its check of a hosted server, and every configuration that it shows."""

import json
import os
import socket
import sysconfig
from contextlib import AsyncExitStack

import httpx2
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.mcp.tools import TOOLS

HOSTED = "mcp-setup/SKILL: A hosted server, without a client"
READS = [tool.name for tool in TOOLS if tool.scope is Scope.READ]
WRITES = [tool.name for tool in TOOLS if tool.scope is not Scope.READ]
SCRIPTS = sysconfig.get_path("scripts")


def find_free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_the_commands_of_the_guide_start_an_api_that_the_recipes_can_use(
    shell, guide, sh_blocks, run_script
):
    port = str(find_free_port())
    (block,) = [each for each in guide.blocks if "/*.env" in each.text]
    start = block.text.replace("8787", port).replace("mcp api ", f"mcp api --port {port} ")
    script = "\n".join(
        [
            "trap 'kill $!' EXIT",
            start,
            'echo "browser key: ${MILLIMETRIC_PK-none}"',
            sh_blocks["track/SKILL: Track one event"].text,
        ]
    )
    ran = run_script(script, shell=shell, environ={"PATH": f"{SCRIPTS}:{os.environ['PATH']}"})
    assert (ran.code, ran.stderr) == (0, "")
    *_, browser_key, answer = ran.stdout.splitlines()
    assert browser_key == "browser key: none"
    assert json.loads(answer) == {"ok": True, "event_id": "signup-42"}


def test_the_check_of_a_hosted_server_prints_a_result(shell, project, sh_blocks, run_script):
    project.send([{"event": "signup", "url": "https://shop.example/?fbclid=x"}])
    ran = run_script(sh_blocks[HOSTED].text, shell=shell, environ=project.environ)
    assert ran.code == 0, ran.stderr
    assert "facebook,paid,1" in ran.stdout


def fill_in(text, project):
    """Replace the examples in ``text`` as a client, or the user, does."""
    read, write = project.environ["MILLIMETRIC_RK"], project.environ["MILLIMETRIC_KEY"]
    for placeholder, value in {
        "rk_live_...": read,
        "sk_live_...": write,
        "${MILLIMETRIC_RK}": read,
        "${env:MILLIMETRIC_RK}": read,
        "${input:millimetric-rk}": read,
        "${MILLIMETRIC_HOST:-https://api.millimetric.ai}": project.url,
        "http://localhost:8787": project.url,
    }.items():
        text = text.replace(placeholder, value)
    assert "$" not in text
    return text


def read_servers(json_block, project):
    config = json.loads(fill_in(json_block.text, project))
    return config.get("mcpServers") or config["servers"]


async def test_a_configuration_connects_with_the_tools_of_its_keys(json_block, project):
    (entry,) = read_servers(json_block, project).values()
    async with AsyncExitStack() as stack:
        transport = await open_transport(stack, entry, project)
        client = await stack.enter_async_context(Client(transport))
        listed = [tool.name for tool in (await client.list_tools()).tools]
        answer = await client.call_tool("top_sources", {"from": "7d"})
    assert listed == (WRITES if "MILLIMETRIC_KEY" in json_block.text else []) + READS
    assert not answer.is_error


async def open_transport(stack, entry, project):
    if "url" in entry:
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=entry["headers"]))
        return streamable_http_client(entry["url"], http_client=http)
    env = {"PATH": f"{SCRIPTS}:{os.environ['PATH']}", "MILLIMETRIC_HOST": project.url}
    return stdio_client(StdioServerParameters(command=entry["command"], env=env | entry["env"]))
