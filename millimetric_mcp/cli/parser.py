"""The command line: every command, and an option for every setting that may have one."""

import argparse
import re
import textwrap
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from shutil import get_terminal_size
from typing import Any, NoReturn

from millimetric_mcp.cli.clients import CLIENTS
from millimetric_mcp.contract.attribution import AttributionModel
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import (
    LOCAL,
    ApiSettings,
    ClassifierSettings,
    ConnectionSettings,
    ControlSettings,
    DeploymentSettings,
    NewKeySettings,
    ReportSettings,
    ServeSettings,
    Setting,
    Settings,
    StoreSettings,
    list_settings,
)

MAX_WIDTH_CHARS = 80
_PREFIX_HELP = "the key's eight characters, as 'keys list' shows them"

_REWORDED = (
    (r"argument (\S+): invalid choice: (.+) \(choose from (.+)\)", r"\1: \2 is invalid. Use \3"),
    (r"argument (\S+): invalid int value: (.+)", r"\1: \2 is invalid. Use a whole number"),
    (r"argument (\S+): expected one argument", r"\1 needs a value"),
    (r"the following arguments are required: (.+)", r"\1 is missing"),
    (r"unrecognized arguments: (.+)", r"\1 is unknown"),
)
"""What argparse says of a wrong command line, and what we say."""

_DESCRIPTION = """\
Ask an AI agent about your website's traffic: an MCP server for Millimetric
analytics, and the analytics API itself, to run on your own machine.
Without a command, it runs the MCP server on stdio."""

_EPILOG = """\
The MCP server reads its API keys from the environment: MILLIMETRIC_KEY (sk_…)
sends data, MILLIMETRIC_RK (rk_…) reads data. MILLIMETRIC_HOST is the API's URL
(default: https://api.millimetric.ai).

  millimetric-mcp demo                  see it work; nothing to set up
  millimetric-mcp --local               use the API of this machine; start it if needed
  millimetric-mcp api                   run the API on http://localhost:8787
  MILLIMETRIC_HOST=http://localhost:8787 millimetric-mcp

Exit codes:
  0     success
  1     failure: the message says what to do
  2     a wrong command, option or setting; nothing was done
  130   Ctrl-C
  141   the command that reads the output, such as head, has ended
"""

_DETAILS = {
    "serve": """\
Run the MCP server. With stdio (the default) your AI client starts this command
for you. With http or sse it listens on this computer; to accept other
computers, add --auth. The tools depend on the keys: MILLIMETRIC_RK for those
that read data, MILLIMETRIC_KEY for those that send or delete it. With --local
it uses the API that all agents of this machine share, and starts it if needed.
No keys are set then.

  millimetric-mcp --local
  millimetric-mcp serve --transport http    # http://127.0.0.1:8000/mcp""",
    "api": """\
Run the Millimetric HTTP API on this machine, with the MCP server at /mcp. The
first start creates a project with three API keys. Events are stored in the data
directory, or on the ClickHouse server that --store names.

  millimetric-mcp api --data-dir ./data     # http://localhost:8787""",
    "local": """\
Show or stop the API that 'millimetric-mcp --local' starts: one for all agents
of this machine, with its data in your platform's data directory. It stops by
itself an hour after the last request (MILLIMETRIC_IDLE_STOP_S).

  millimetric-mcp local status""",
    "config": """\
Print this server's entry for the file of an MCP client, or merge it there with
--write. Everything else in the file stays, and a backup is kept. The entry
refers to keys by name; with --local it needs none.

  millimetric-mcp config claude-code --local --write""",
    "doctor": """\
Look for what is wrong: settings, the API and its keys, extras, disk, port, and
the files of MCP clients. With --site it also fetches a page of your website and
checks its script tag. The exit code is 1 if something is broken.

  millimetric-mcp doctor --site https://shop.example""",
    "open": """\
Open the API's page in your browser, signed in. The link that it opens works
once, within 60 seconds, and holds no key. On a machine without a screen, or
with --print, the link is printed. Other users of this machine don't see it.

  millimetric-mcp open --local
  MILLIMETRIC_HOST=http://localhost:8787 millimetric-mcp open --print""",
    "report": """\
Print the page's numbers: visitors, page views, one event and revenue against
the time before, sources with their paid share, channels, pages, campaigns,
countries, devices, a funnel, and who comes back. Bots are left out. Without
options, the event, the revenue and the funnel are chosen from the data.

  millimetric-mcp report --local
  millimetric-mcp report --range 7d --event signup --model last_touch
  millimetric-mcp report --first-day 2026-05-01 --last-day 2026-05-31 --json""",
    "keys": """\
Create, list, rotate and revoke API keys of the API on this machine. The API may
be running or not; use the same --data-dir or --control.

  millimetric-mcp keys create --kind rk --project shop
  millimetric-mcp keys list
  millimetric-mcp keys revoke AbCd1234""",
    "projects": """\
List, create, rename, change and delete projects of the API on this machine. The
API may be running or not; use the same --data-dir or --control.

  millimetric-mcp projects list
  millimetric-mcp projects set shop --retention-days 400""",
    "migrate": """\
Bring the event store's schema up to date, and with an embedded store that of
the database of projects and keys. 'millimetric-mcp api' does this when it
starts. Run it yourself if the API's database user must not create tables.

  millimetric-mcp migrate --store clickhouse://admin@db.example:8123/events""",
    "backup": """\
Copy events, projects, keys and secrets into a new folder of DIR, while the API
runs or not. Every event acknowledged before it began is in the copy. Files that
the last backup in DIR has too are hard links to it, so they take no space, and
any folder can be deleted. A new DIR gets a complete copy. Keep it private.
s3://BUCKET/PREFIX is a bucket; its credentials come from AWS_* variables or
~/.aws.

  millimetric-mcp backup /var/backups/millimetric --data-dir ./data""",
    "restore": """\
Restore a backup, or the newest one in DIR, into a data directory that is empty.
Every file is compared with its checksum first, and every table's rows with
their number after. If something is missing, it says what, and changes nothing.

  millimetric-mcp restore /var/backups/millimetric --data-dir ./restored""",
    "check": """\
Read every file of the store, and check that store, control database and
secrets are undamaged and belong together. Says what to do about what is
wrong; the exit code is 1 then. The API may run or not.

  millimetric-mcp check --data-dir ./data""",
    "import": """\
Import past events from files: access logs, tables, and exports of other
products. The format is detected. Each file is stored once: the same
command again adds nothing, and goes on where it stopped. Bots and assets of
access logs are left out. Invalid records go to FILE.rejects.ndjson.

  millimetric-mcp import access.log.gz --site https://shop.example --dry-run
  millimetric-mcp import --local access.log.gz --site https://shop.example
  millimetric-mcp import orders.csv --map event==purchase --map timestamp=date
  millimetric-mcp import --undo ID

The exit code is 0 if everything is stored, 3 if some records were rejected,
1 if it failed, 2 for wrong options.""",
    "export": """\
Write the events of a window, oldest first, as NDJSON, CSV or Parquet, in any
number. 'import' reads each of them. Without --output they go to the terminal or
the next command.

  millimetric-mcp export --from 2026-05-01 --to 2026-06-01 --output may.csv
  millimetric-mcp export --filter event=signup | gzip > signups.ndjson.gz""",
    "classify": """\
Explain where the classifier says a visit came from: which rule applied, what it
looked at, and which rules before it did not apply.

  millimetric-mcp classify 'https://shop.example/?fbclid=1' \\
    --referrer https://l.facebook.com/""",
    "demo": """\
See everything work, with nothing to set up: the API in a temporary directory, a
month of made-up events sent to it over HTTP, and an MCP client that asks
typical questions. It compares every number in the results with what was sent;
the exit code is 1 if one differs. It takes about a minute.

  millimetric-mcp demo --events 5000 --keep""",
}

_IMPORT_FORMATS = (
    "combined",
    "caddy",
    "cloudfront",
    "events",
    "plausible",
    "umami",
    "posthog",
    "matomo",
    "ga4",
)
"""The formats of ``millimetric_mcp.cli.imports.formats`` that need no further option."""

_LOCAL_DETAILS = {
    "status": """\
Say whether the local API runs, and where. The exit code is 1 if it does not.

  millimetric-mcp local status --json""",
    "stop": """\
Stop the local API. The next agent that needs it starts it again.

  millimetric-mcp local stop""",
    "path": """\
Print where the local API keeps its data, your keys and its log.

  millimetric-mcp local path""",
}

_KEYS_DETAILS = {
    "create": """\
Create an API key. If the project does not exist, it is created. On a terminal,
or with --json, the key is printed; otherwise it is saved to a file that only
you can read. The API stores only a hash, so it can't show the key again.

  millimetric-mcp keys create --kind pk --origin https://shop.example""",
    "list": """\
List every API key: prefix, kind, environment, project, label, origins, and when
it was created, last used (the UTC day) and revoked. Secrets are not shown.

  millimetric-mcp keys list --data-dir ./data""",
    "rotate": """\
Create a key like an old one: same project, kind, origins and label. The old one
works for another 24 hours, so that you can replace it everywhere.

  millimetric-mcp keys rotate AbCd1234
  millimetric-mcp keys rotate AbCd1234 --overlap-hours 0""",
    "revoke": """\
Revoke an API key. Every API process refuses it within 5 seconds. You can't undo
this.

  millimetric-mcp keys revoke AbCd1234""",
    "clean": """\
Delete the files in which new keys were saved: of one key, or of every key of
the data directory. The keys themselves work as before.

  millimetric-mcp keys clean""",
}

_PROJECTS_DETAILS = {
    "list": """\
List the projects with their settings, active keys, and the day of the last use.

  millimetric-mcp projects list --data-dir ./data""",
    "create": """\
Create a project without keys. 'millimetric-mcp keys create' creates one too.

  millimetric-mcp projects create shop""",
    "rename": """\
Rename a project. Its keys and events stay.

  millimetric-mcp projects rename shop shop-eu""",
    "set": """\
Change settings of a project. A running API uses them within 5 seconds. A
shorter retention deletes older events for good, so it asks first.

  millimetric-mcp projects set shop --retention-days 400
  millimetric-mcp projects set shop --timezone Europe/Berlin
  millimetric-mcp projects set shop --origin https://shop.example""",
    "delete": """\
Delete a project with its events, keys and records, for good. It says how many
events there are, and asks for the project's name. The API may be running or
not. If it is interrupted, run it again.

  millimetric-mcp projects delete shop --data-dir ./data""",
}


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:  # noqa: ANN401
        width = min(get_terminal_size().columns, MAX_WIDTH_CHARS) - 2
        form = partial(argparse.RawDescriptionHelpFormatter, width=width)
        super().__init__(formatter_class=form, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise SettingsError for an argument that is unknown, missing or invalid."""
        for theirs, ours in _REWORDED:
            message = re.sub(theirs, ours, message)
        raise SettingsError([f"{message}. See: {self.prog} --help"])


def find_command(arguments: list[str]) -> str | None:
    """Return the command, the first argument; None for --help and --version.

    Raises:
        SettingsError: the first argument is not a command.
    """
    word = arguments[0]
    if word in _DETAILS:
        return word
    if word in {"-h", "--help", "--version"}:
        return None
    if word.startswith("-"):
        sentence = f"{word}: write options after a command: millimetric-mcp serve {word} …"
    else:
        similar = get_close_matches(word, _DETAILS, n=1, cutoff=0.5)
        hint = f"Did you mean {similar[0]!r}? " if similar else ""
        sentence = f"{word!r} is not a command. {hint}The commands are {', '.join(_DETAILS)}."
    raise SettingsError([sentence])


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of all commands, or of one: that takes a sixth of the time.

    An option that was not given is None, so that its variable counts.
    """
    parser = _Parser(prog="millimetric-mcp", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, summary, add_arguments in _COMMANDS:
        if only in {None, name}:
            add_arguments(commands.add_parser(name, help=summary, description=_DETAILS[name]))
    if only:
        parser.prog += f" {only}"  # the help that an error names
    return parser


def _add_settings(
    parser: argparse.ArgumentParser, model: type[Settings], *, can_json: bool = False
) -> None:
    settings = list_settings(model)
    for setting in settings:
        if setting.option:
            _add_option(parser, setting.option, setting)
    if can_json:
        _add_json(parser)
    lines = ["From the environment only:"]
    for setting in settings:
        if setting.option is None:
            lines.append(f"  {setting.variable}")
            lines.append(textwrap.indent(textwrap.fill(setting.help, 72), "      "))
    if len(lines) > 1:
        parser.epilog = "\n".join(lines)


def _add_option(parser: argparse.ArgumentParser, option: str, setting: Setting) -> None:
    default = setting.default_text and f"default {setting.default_text}"
    notes = (setting.variable, setting.form, default)
    text = f"{setting.help} [{'; '.join(filter(None, notes))}]".replace("%", "%%")
    if setting.is_switch:
        parser.add_argument(option, dest=setting.name, action="store_true", default=None, help=text)
        return
    metavar = option.partition("-per-")[0].rpartition("-")[2].upper()
    action = "append" if setting.is_list else "store"
    parser.add_argument(option, dest=setting.name, metavar=metavar, action=action, help=text)


def _add_keys(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="keys_command", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="create an API key, and its project if needed")
    create.add_argument(
        "--kind",
        choices=["sk", "rk", "pk"],
        required=True,
        help="sk: for servers, sends and deletes data; rk: reads data; pk: for browsers, sends "
        "data from its origins",
    )
    create.add_argument(
        "--project", default="default", metavar="NAME", help="project name [default: default]"
    )
    create.add_argument(
        "--origin",
        action="append",
        metavar="URL",
        help="website that may use a pk key, such as https://shop.example (repeat for more)",
    )
    create.add_argument(
        "--env",
        choices=["live", "test"],
        default="live",
        help="environment of the key [default: live]",
    )
    create.add_argument("--label", metavar="TEXT", help="note for yourself, such as CI or website")
    create.add_argument(
        "--expires-days",
        type=int,
        metavar="DAYS",
        help="days that the key works; default: for ever",
    )
    _add_yes(create)
    listing = actions.add_parser("list", help="list every API key, without secrets")
    rotate = actions.add_parser("rotate", help="replace an API key")
    rotate.add_argument(
        "--overlap-hours",
        type=int,
        default=24,
        metavar="HOURS",
        help="hours that the old key still works [default: 24]",
    )
    revoke = actions.add_parser("revoke", help="revoke an API key within 5 seconds")
    clean = actions.add_parser("clean", help="delete the files in which new keys were saved")
    for action in (rotate, revoke):
        action.add_argument("prefix", help=_PREFIX_HELP)
    clean.add_argument("prefix", nargs="?", help=f"{_PREFIX_HELP}; default: all keys")
    for action in (create, listing, rotate, revoke, clean):
        action.description = _KEYS_DETAILS[action.prog.rpartition(" ")[2]]
        model = NewKeySettings if action in {create, rotate} else ControlSettings
        _add_settings(action, model, can_json=True)


def _add_projects(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="projects_command", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the projects")
    create = actions.add_parser("create", help="create a project")
    rename = actions.add_parser("rename", help="rename a project")
    change = actions.add_parser("set", help="change settings of a project")
    delete = actions.add_parser("delete", help="delete a project with all its events and keys")
    for action in (create, rename, change, delete):
        action.add_argument("name", type=str.strip, metavar="NAME", help="the project's name")
        _add_yes(action)
    rename.add_argument("new_name", type=str.strip, metavar="NEW_NAME", help="its new name")
    change.add_argument(
        "--retention-days",
        type=int,
        metavar="DAYS",
        help="days that its events are kept; 0: as the API's --retention-days says",
    )
    change.add_argument(
        "--fbclid",
        choices=["paid", "social", "default"],
        help="what an fbclid without a paid utm_medium counts as; default: as the API's --fbclid "
        "says",
    )
    change.add_argument(
        "--timezone",
        metavar="ZONE",
        help="zone in which its days begin, such as Europe/Berlin, for questions that name none; "
        "default: UTC",
    )
    change.add_argument(
        "--origin",
        action="append",
        metavar="URL",
        help="website that may use its browser keys, in place of those set before (repeat for "
        "more)",
    )
    for action in (listing, create, rename, change, delete):
        action.description = _PROJECTS_DETAILS[action.prog.rpartition(" ")[2]]
        model = DeploymentSettings if action is delete else ControlSettings
        _add_settings(action, model, can_json=True)


def _add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="go on without a question")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", metavar="CLIENT", choices=CLIENTS, help=", ".join(CLIENTS))
    parser.add_argument("--write", action="store_true", help="merge the entry into the file")
    parser.add_argument(
        "--local", action="store_true", help="use the shared API of this machine; no keys needed"
    )
    parser.add_argument(
        "--inline-keys",
        action="store_true",
        help="write the keys of MILLIMETRIC_RK and MILLIMETRIC_KEY into the file",
    )
    parser.add_argument("--file", metavar="FILE", help="use this file instead of the client's own")
    _add_json(parser)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--local", action="store_true", help="look at the API of --local")
    parser.add_argument("--site", metavar="URL", help="a page of your website")
    _add_json(parser)


def _add_open(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--print", action="store_true", help="print the link; open nothing")
    _add_json(parser)
    _add_local_option(parser)
    _add_settings(parser, ConnectionSettings)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--range",
        choices=["today", "7d", "30d", "90d"],
        default="30d",
        help="so many days, today included [default: 30d]",
    )
    parser.add_argument("--first-day", metavar="DAY", help="in place of --range, as 2026-05-01")
    parser.add_argument("--last-day", metavar="DAY", help="included [default: today]")
    parser.add_argument(
        "--model",
        choices=list(AttributionModel),
        default=AttributionModel.EVENT.value,
        help="which source an event counts for: its own, or the first of its session, or the "
        "first or last of its person [default: event]",
    )
    parser.add_argument("--event", metavar="NAME", help="event to count beside page views")
    parser.add_argument(
        "--revenue", metavar="EVENT:PROPERTY", help="numbers to sum up, as purchase:amount"
    )
    parser.add_argument(
        "--step", action="append", metavar="EVENT", help="step of the funnel (repeat for more)"
    )
    _add_json(parser)
    _add_local_option(parser)
    _add_settings(parser, ReportSettings)


def _add_local(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="local_command", metavar="ACTION", required=True)
    for name, summary in (
        ("status", "say whether it runs, and where"),
        ("stop", "stop it"),
        ("path", "print where its data, keys and log are"),
    ):
        _add_json(actions.add_parser(name, help=summary, description=_LOCAL_DETAILS[name]))


def _add_backup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", metavar="DIR", help="directory of backups, or s3://BUCKET/PREFIX"
    )
    parser.add_argument(
        "--without-secrets",
        action="store_true",
        help="leave out the pepper and the IP salt; without them no key works after a restore",
    )
    _add_settings(parser, DeploymentSettings, can_json=True)


def _add_restore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", metavar="DIR", help="a backup, or a directory or s3:// bucket of backups"
    )
    _add_settings(parser, DeploymentSettings, can_json=True)


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="*", help="plain, .gz or .zip")
    parser.add_argument(
        "--format",
        choices=_IMPORT_FORMATS,
        metavar="NAME",
        help=f"format of the files: {', '.join(_IMPORT_FORMATS)} [default: found by their "
        "beginning]",
    )
    parser.add_argument(
        "--map",
        action="append",
        metavar="FIELD=COLUMN",
        help="column of a table that fills a field, such as timestamp=date or "
        "properties.plan=Plan; FIELD==TEXT for the same text in every row (repeat for more)",
    )
    parser.add_argument(
        "--site", metavar="URL", help="website of a log or export that does not name it"
    )
    parser.add_argument(
        "--timezone", metavar="ZONE", help="zone of times without an offset [default: UTC]"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be stored")
    parser.add_argument("--keep-bots", action="store_true", help="import bots of access logs too")
    parser.add_argument(
        "--keep-assets", action="store_true", help="import images, scripts, … of access logs too"
    )
    parser.add_argument(
        "--totals", action="store_true", help="store Plausible's totals as $total events"
    )
    parser.add_argument(
        "--rejects", metavar="PATH", help="file for rejected records [default: FILE.rejects.ndjson]"
    )
    parser.add_argument("--list", action="store_true", help="list the project's imports")
    parser.add_argument("--undo", metavar="ID", help="delete every event of an import")
    _add_local_option(parser)
    _add_settings(parser, ConnectionSettings, can_json=True)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="from_",
        metavar="TIME",
        help="first moment: a date in UTC, or ISO 8601 with an offset [default: the beginning]",
    )
    parser.add_argument("--to", metavar="TIME", help="first moment after the window [default: now]")
    parser.add_argument(
        "--filter",
        action="append",
        metavar="NAME=VALUE",
        help="only these events, such as event=signup or country=DE (repeat for more)",
    )
    parser.add_argument(
        "--format",
        choices=["ndjson", "csv", "parquet"],
        help="form of the output [default: the ending of --output, else ndjson]",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="file to write; it appears when it is complete"
    )
    _add_local_option(parser)
    _add_settings(parser, ConnectionSettings, can_json=True)


def _add_classify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="the landing URL, with utm and click ids")
    parser.add_argument("--referrer", metavar="R", help="the referrer's URL")
    _add_settings(parser, ClassifierSettings)
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
        "--keep", action="store_true", help="keep the API running at the end; show keys and URLs"
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    _add_local_option(parser)
    _add_settings(parser, ServeSettings)


def _add_local_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--local",
        dest="api_url",
        action="store_const",
        const=LOCAL,
        help="use the shared API of this machine, and start it if needed [MILLIMETRIC_HOST=local]",
    )


_add_api = partial(_add_settings, model=ApiSettings)
_add_migrate = partial(_add_settings, model=StoreSettings, can_json=True)
_add_check = partial(_add_settings, model=DeploymentSettings, can_json=True)

_COMMANDS: tuple[tuple[str, str, Callable[[argparse.ArgumentParser], None]], ...] = (
    ("serve", "run the MCP server (stdio, SSE or Streamable HTTP)", _add_serve),
    ("api", "run the Millimetric HTTP API on this machine", _add_api),
    ("local", "show or stop the API that --local starts", _add_local),
    ("config", "connect an MCP client with this server", _add_config),
    ("doctor", "find out why data or tools are missing", _add_doctor),
    ("open", "open the page on your data in a browser", _add_open),
    ("report", "print the page's numbers", _add_report),
    ("keys", "create, list, rotate and revoke API keys", _add_keys),
    ("projects", "list, create, rename, change and delete projects", _add_projects),
    ("migrate", "bring the event store's schema up to date", _add_migrate),
    ("backup", "copy events, projects, keys and secrets, while the API runs", _add_backup),
    ("restore", "restore a backup into an empty data directory", _add_restore),
    ("check", "check that store, control database and secrets belong together", _add_check),
    ("import", "import past events from logs, tables and other products", _add_import),
    ("export", "write events as NDJSON, CSV or Parquet", _add_export),
    ("classify", "explain where the classifier says a visit came from", _add_classify),
    ("demo", "see everything work on a month of made-up events", _add_demo),
)
