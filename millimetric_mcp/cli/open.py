"""``millimetric-mcp open``: the API's page in a browser, signed in by a one-time link."""

import asyncio
import sys
from argparse import Namespace
from collections.abc import Mapping

from millimetric_mcp.cli.browsers import open_page
from millimetric_mcp.cli.connections import needing_own_api, open_reader
from millimetric_mcp.cli.output import print_json
from millimetric_mcp.client import MillimetricClient
from millimetric_mcp.contract.endpoints import PAGE_PATH
from millimetric_mcp.contract.links import LinkResult
from millimetric_mcp.settings import ConnectionSettings, read_settings

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    """Open the page, or print its link where no browser can be opened; return 0.

    Raises:
        SettingsError: a setting is wrong, or the API has no page.
        CallError: the API did not answer, or does not know the key.
    """
    settings = read_settings(ConnectionSettings, environ=environ, options=vars(options))
    client = open_reader(settings, environ)
    with needing_own_api(client.api_url, "page"):
        link = asyncio.run(_create_link(client))
    # The fragment stays in the browser: it is in no request, and in no log.
    url = f"{client.api_url}{PAGE_PATH}#code={link.code}"
    opened = not options.print and _has_browser(environ) and open_page(url)
    if options.json:
        facts = {"url": url, "expires_in_s": link.expires_in_s, "opened": opened}
        print_json(facts)
    elif opened:
        sys.stdout.write(f"Opened {client.api_url}{PAGE_PATH} in your browser.\n")
    else:
        sys.stdout.write(f"{url}\n")
        sys.stderr.write(f"The link works once, within {link.expires_in_s} seconds.\n")
    return 0


async def _create_link(client: MillimetricClient) -> LinkResult:
    async with client:
        return await client.create_link()


def _has_browser(environ: Mapping[str, str]) -> bool:
    """Return whether a browser can be opened, and gets the link without other users seeing it."""
    if sys.platform != "linux":
        return not environ.get("BROWSER")  # it would get the link as an argument
    # Browsers that run in a terminal have no JavaScript.
    return any(environ.get(name) for name in _DISPLAYS)
