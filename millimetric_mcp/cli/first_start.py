"""What the first start of an API says: its first keys, and what to do with them."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit, urlunsplit

from millimetric_mcp.api.control import Control, NewKey
from millimetric_mcp.cli.installation import own_command
from millimetric_mcp.cli.key_files import hand_out, quote_options, write_keys_command
from millimetric_mcp.contract.keys import KeyKind

_STEPS = """
Next steps

1. Count visits: paste this into the pages of your website.
   {script}
   This browser key works on {origins}.
   For your own site, create another one:
   millimetric-mcp keys create --kind pk --origin https://shop.example{data_dir_option}

2. Look at your numbers: open {url}/ in a browser, and paste
   the read key.

3. Ask an agent: add this to its mcp.json. Most clients have their own file.
{block}
   Clients that connect by URL use {url}/mcp, with the read key
   as bearer token.

4. Stop the API with Ctrl-C. Its data stays in {data_dir}.

"""


def announce_first_keys(
    control: Control, *, keys_dir: Path, data_dir: Path, url: str, stdout: TextIO
) -> bool:
    """Create a deployment's first keys and say what to do with them, if it never had any.

    They are printed if ``stdout`` is a terminal. Otherwise they are saved, with what to do, to
    files that only their owner can read. Returns whether they were created.
    """
    show = partial(_announce, keys_dir=keys_dir, data_dir=data_dir, url=url, stdout=stdout)
    return control.create_first_keys(show) is not None


def write_script_tag(key: str, url: str) -> str:
    """Return the element that loads the browser script from the API at ``url``."""
    # The script finds its origin by itself, and not a path before /v1.
    host = f' data-host="{url}"' if urlsplit(url).path else ""
    return f'<script async src="{url}/v1/a.js" data-key="{key}"{host}></script>'


def find_local_url(url: str) -> str:
    """Return how this machine reaches the API at ``url``, which may name every address."""
    parts = urlsplit(url)
    if parts.hostname not in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not listened on
        return url
    return urlunsplit(parts._replace(netloc=f"localhost:{parts.port}"))


def _announce(
    created: Sequence[NewKey], *, keys_dir: Path, data_dir: Path, url: str, stdout: TextIO
) -> None:
    command = write_keys_command("clean", keys_dir=keys_dir, data_dir=data_dir)
    files = hand_out(created, keys_dir=keys_dir, clean_command=command, stdout=stdout)
    keys = {new.key.kind: new.key.reveal() for new in created}
    if files:  # a log is no place for keys
        keys = {
            new.key.kind: f"the key in {path.name}"
            for new, path in zip(created, files, strict=True)
        }
    browser = next(new for new in created if new.key.kind is KeyKind.PK)
    steps = _STEPS.format(
        script=write_script_tag(keys[KeyKind.PK], find_local_url(url)),
        origins=" and ".join(sorted(browser.record.origins)),
        block=_write_block(keys[KeyKind.RK], find_local_url(url)),
        url=find_local_url(url),
        data_dir=data_dir,
        data_dir_option=f" \\\n    {quote_options(data_dir=data_dir)}",
    )
    for path in files:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"# {line}".rstrip() + "\n" for line in steps.splitlines())
    stdout.write(steps)
    stdout.flush()


def _write_block(read_key: str, url: str) -> str:
    command, *arguments = own_command()
    server = {
        "command": command,
        **({"args": arguments} if arguments else {}),
        "env": {"MILLIMETRIC_HOST": url, "MILLIMETRIC_RK": read_key},
    }
    text = json.dumps({"mcpServers": {"millimetric": server}}, indent=2)
    return "".join(f"   {line}\n" for line in text.splitlines()).removesuffix("\n")
