"""The command line: every command, and an option for every setting that may be one."""

import argparse
from collections.abc import Callable, Iterator

from millimetric_mcp.settings import (
    ApiSettings,
    ControlSettings,
    ServeSettings,
    SettingField,
    Settings,
    StoreSettings,
    list_settings,
)

_DESCRIPTION = """\
Millimetric analytics for agents: an MCP server over the Millimetric HTTP API, and the same
API embedded, on this machine. Without a command: the MCP server on stdio."""

_DETAILS = {
    "serve": """\
Run the MCP server. On stdio the agent starts it by itself; sse and http listen on this machine,
and beyond it only with --auth. The keys decide which tools are listed: MILLIMETRIC_RK the three
that read, MILLIMETRIC_KEY the four that write.

  millimetric-mcp serve --transport http --port 8000     # http://127.0.0.1:8000/mcp""",
    "api": """\
Run the Millimetric HTTP API on this machine, with the MCP server beside it at /mcp. Its first
start makes a project with three keys and shows them once. Events lie in the data directory, in
an embedded ClickHouse, or on the ClickHouse server that --store names.

  millimetric-mcp api --data-dir ./data                  # http://localhost:8787""",
    "keys": """\
Make, list and revoke API keys of the API on this machine, while it runs or not.

  millimetric-mcp keys create --kind rk --project shop
  millimetric-mcp keys create --kind pk --origin https://shop.example
  millimetric-mcp keys revoke AbCd1234""",
    "migrate": """\
Bring the event store's schema up to date. 'millimetric-mcp api' does so by itself; on a
ClickHouse server it may be done beforehand, by somebody who may create tables.""",
    "classify": """\
Explain where the classifier says a visit came from: which rule fired, what it saw, and which
rules before it did not.

  millimetric-mcp classify 'https://shop.example/?fbclid=1' --referrer https://l.facebook.com/""",
    "demo": """\
See the whole thing work, with nothing set up: an API in a temporary directory, a month of made-up
events sent to it over HTTP, and an MCP client that asks what people ask. Every number that comes
back is checked against what was sent; the exit code is 1 where one differs. It takes a minute.""",
}

_KEYS_DETAILS = {
    "create": """\
Make a key of a project, which is made with its first key. Its secret is shown this once: on a
terminal, with --json (key, kind, env, prefix, project), or else in a file of yours alone.""",
    "list": """\
Show every key: prefix, kind, environment, project, origins, when it was made and revoked.""",
    "revoke": """\
End a key. Every API process refuses it within 5 seconds; it can't be brought back.""",
}

_EPILOG = """\
Keys come from the environment: MILLIMETRIC_KEY (sk_..., writes) and MILLIMETRIC_RK (rk_...,
reads); MILLIMETRIC_HOST names the API (default https://api.millimetric.ai).

  millimetric-mcp demo                     see it work, with nothing set up
  millimetric-mcp api                      run the API here, on http://localhost:8787
  MILLIMETRIC_HOST=http://localhost:8787 millimetric-mcp
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser; an option that was not given is None, so that its variable counts."""
    parser = argparse.ArgumentParser(
        prog="millimetric-mcp",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, summary, add_arguments in _COMMANDS:
        command = commands.add_parser(
            name,
            help=summary,
            description=_DETAILS[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        add_arguments(command)
    return parser


def _add_settings(parser: argparse.ArgumentParser, model: type[Settings]) -> None:
    variables = []
    for field in list_settings(model):
        if field.setting.option is None:
            variables.append(field)
        else:
            _add_option(parser, field)
    if variables:
        width = max(len(field.setting.variable) for field in variables)
        parser.epilog = "from the environment only:\n" + "\n".join(
            f"  {field.setting.variable:<{width}}  {field.help}" for field in variables
        )


def _add_option(parser: argparse.ArgumentParser, field: SettingField) -> None:
    option = field.setting.option
    assert option is not None  # noqa: S101
    text = f"{field.help} [{'; '.join(_notes(field))}]".replace("%", "%%")
    if field.is_switch:
        parser.add_argument(option, dest=field.name, action="store_true", default=None, help=text)
        return
    metavar = option.rpartition("-")[2].upper()
    action = "append" if field.is_list else "store"
    parser.add_argument(option, dest=field.name, metavar=metavar, action=action, help=text)


def _notes(field: SettingField) -> Iterator[str]:
    yield field.setting.variable
    if field.setting.unit:
        yield field.setting.unit
    if field.default_text and not field.is_switch:
        yield f"default {field.default_text}"


def _add_serve(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser, ServeSettings)


def _add_api(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser, ApiSettings)


def _add_migrate(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser, StoreSettings)
    _add_json(parser)


def _add_keys(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="keys_command", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a key; its secret is shown this once")
    create.add_argument(
        "--kind",
        choices=["sk", "rk", "pk"],
        required=True,
        help="sk: servers, writes; rk: reads; pk: browsers, writes from its origins",
    )
    create.add_argument("--project", default="default", help="project name [default: default]")
    create.add_argument(
        "--origin",
        action="append",
        metavar="URL",
        help="origin a pk may be used from, such as https://shop.example (repeat for more)",
    )
    create.add_argument("--env", choices=["live", "test"], default="live", help="[default: live]")
    create.add_argument(
        "--retention-days",
        type=int,
        metavar="DAYS",
        help="days the project's events are kept; 0 = the API's default",
    )
    listing = actions.add_parser("list", help="show every key, never a secret")
    revoke = actions.add_parser("revoke", help="end a key, within 5 s in every API process")
    revoke.add_argument("prefix", help="the key's eight characters, as 'keys list' shows them")
    for action in (create, listing, revoke):
        action.formatter_class = argparse.RawDescriptionHelpFormatter
        action.description = _KEYS_DETAILS[action.prog.rpartition(" ")[2]]
        _add_settings(action, ControlSettings)
        _add_json(action)


def _add_classify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="the landing URL, utm and click ids included")
    parser.add_argument("--referrer", metavar="R", help="the referrer's URL")
    _add_json(parser)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--events",
        type=int,
        default=50_000,
        metavar="N",
        help="events to send, at least 1000 [default: 50000]",
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the API up at the end, with its keys and URLs"
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for machines")


_COMMANDS: tuple[tuple[str, str, Callable[[argparse.ArgumentParser], None]], ...] = (
    ("serve", "run the MCP server (stdio, SSE or Streamable HTTP)", _add_serve),
    ("api", "run the Millimetric HTTP API on this machine", _add_api),
    ("keys", "make, list and revoke API keys of the API on this machine", _add_keys),
    ("migrate", "bring the event store's schema up to date", _add_migrate),
    ("classify", "explain where the classifier says a visit came from", _add_classify),
    ("demo", "see the whole thing work on a month of made-up events", _add_demo),
)
