"""The MCP clients that `config` and `doctor` know: their file, and how it names a server."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER_NAME = "millimetric"
KEY_VARIABLES = {"MILLIMETRIC_RK": "rk_live_...", "MILLIMETRIC_KEY": "sk_live_..."}
"""Each key's variable, and what stands for it where it is not known."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a user works: the home directory, the project's, and the environment."""

    home: Path
    project: Path
    environ: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Client:
    """An MCP client.

    ``container`` is the path to the servers in its file. ``reference`` is how the file names a
    variable of the environment; None if it can't. ``is_shared``: the file is a project's.
    """

    name: str
    title: str
    find_file: Callable[[Places], Path]
    reference: str | None
    container: tuple[str, ...] = ("mcpServers",)
    is_shared: bool = False
    is_toml: bool = False

    def build_entry(
        self, command: Sequence[str], *, env: Mapping[str, str], references: Sequence[str]
    ) -> dict[str, Any]:
        """Return the server's entry: with variables as they are, and names of others."""
        entry: dict[str, Any] = {"command": command[0], "args": list(command[1:])}
        if self.name == "vscode":
            entry = {"type": "stdio", **entry}
        if self.is_toml:
            # Codex waits 10 seconds; the first start of a local API may take longer.
            return entry | {"startup_timeout_sec": 60, "env_vars": list(references), "env": {**env}}
        form = self.reference or "{placeholder}"
        referred = {
            name: form.format(name=name, id=input_id(name), placeholder=KEY_VARIABLES[name])
            for name in references
        }
        return entry | {"env": {**env, **referred}}


def input_id(variable: str) -> str:
    """Return the id of VS Code's question for a key: ``millimetric-rk``."""
    return variable.lower().replace("_", "-")


def build_input(variable: str) -> dict[str, Any]:
    """Return VS Code's question for a key; it keeps the answer in its own secret store."""
    kind = {"MILLIMETRIC_RK": "read key (rk_...)", "MILLIMETRIC_KEY": "server key (sk_...)"}
    return {
        "type": "promptString",
        "id": input_id(variable),
        "description": f"Millimetric {kind[variable]}",
        "password": True,
    }


def _find_claude_desktop(_: Places) -> Path:
    from platformdirs import user_config_path  # noqa: PLC0415 - only where it is used

    return user_config_path("Claude", appauthor=False, roaming=True) / "claude_desktop_config.json"


def _find_codex(places: Places) -> Path:
    return Path(places.environ.get("CODEX_HOME") or places.home / ".codex") / "config.toml"


def _find_openclaw(places: Places) -> Path:
    if file := places.environ.get("OPENCLAW_CONFIG_PATH"):
        return Path(file)
    state = places.environ.get("OPENCLAW_STATE_DIR") or places.home / ".openclaw"
    return Path(state) / "openclaw.json"


CLIENTS: Mapping[str, Client] = {
    client.name: client
    for client in (
        Client(
            "claude-code",
            "Claude Code",
            lambda places: places.project / ".mcp.json",
            "${{{name}}}",
            is_shared=True,
        ),
        Client("claude-desktop", "Claude Desktop", _find_claude_desktop, None),
        Client(
            "cursor",
            "Cursor",
            lambda places: places.project / ".cursor" / "mcp.json",
            "${{env:{name}}}",
            is_shared=True,
        ),
        Client(
            "vscode",
            "VS Code",
            lambda places: places.project / ".vscode" / "mcp.json",
            "${{input:{id}}}",
            container=("servers",),
            is_shared=True,
        ),
        Client("codex", "Codex", _find_codex, "{name}", container=("mcp_servers",), is_toml=True),
        Client("openclaw", "openclaw", _find_openclaw, "${{{name}}}", container=("mcp", "servers")),
        Client(
            "inspector",
            "MCP Inspector",
            lambda places: places.home / ".mcp-inspector" / "mcp.json",
            None,
        ),
    )
}
