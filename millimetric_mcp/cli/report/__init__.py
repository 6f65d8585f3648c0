"""``millimetric-mcp report``: the numbers of the API's page, as text or JSON."""

import asyncio
import sys
from argparse import Namespace
from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from millimetric_mcp.cli.connections import needing_own_api, open_reader
from millimetric_mcp.cli.console import open_console
from millimetric_mcp.cli.output import print_json
from millimetric_mcp.cli.report.numbers import Choices, Numbers, ask_all
from millimetric_mcp.cli.report.text import write_report
from millimetric_mcp.cli.report.windows import Range, find_range
from millimetric_mcp.client import MillimetricClient
from millimetric_mcp.contract.attribution import AttributionModel
from millimetric_mcp.contract.events import EventName
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import ReportSettings, read_settings

__all__ = ["run"]

_WIDTH_CHARS = 80


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    """Print the numbers; return 0.

    Raises:
        SettingsError: options or settings are wrong; every wrong option is named.
        CallError: the API did not answer, or does not know the key.
    """
    settings = read_settings(ReportSettings, environ=environ, options=vars(options))
    zone = ZoneInfo(settings.timezone)
    choices = _read_choices(options)
    shown = find_range(options.range, options.first_day, options.last_day, zone, datetime.now(UTC))
    client = open_reader(settings, environ)
    with needing_own_api(client.api_url, "reports"):
        numbers = asyncio.run(_ask(client, shown, choices))
    if options.json:
        print_json(numbers.to_json())
        return 0
    width = min(Console().width, _WIDTH_CHARS) if sys.stdout.isatty() else _WIDTH_CHARS
    write_report(open_console(width=width), numbers, api_url=client.api_url)
    return 0


async def _ask(client: MillimetricClient, shown: Range, choices: Choices) -> Numbers:
    async with client:
        return await ask_all(client, shown, choices)


def _read_choices(options: Namespace) -> Choices:
    """Return what is asked for beside the window.

    Raises:
        SettingsError: an option is wrong; every wrong one is named.
    """
    errors: list[str] = []
    event, _, key = (options.revenue or "").rpartition(":")
    if options.revenue and not (event and key):
        errors.append("--revenue: Use EVENT:PROPERTY, such as purchase:amount.")
    steps = tuple(options.step or ())
    if len(steps) == 1 or len(steps) > 10:
        errors.append("--step: Give 2 to 10 events, one with each --step.")
    for option, names in {"--event": [options.event], "--step": steps}.items():
        for name in filter(None, names):
            try:
                TypeAdapter(EventName).validate_python(name)
            except ValidationError:
                errors.append(f"{option}: Use an event's name of at most 128 characters.")
    if errors:
        raise SettingsError(list(dict.fromkeys(errors)))
    return Choices(
        goal=options.event,
        revenue=(event, key) if options.revenue else None,
        steps=steps,
        attribution=AttributionModel(options.model),
    )
