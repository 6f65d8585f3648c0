"""This installation: the command that starts it, and the commands that complete it."""

import json
import shlex
import sys
import sysconfig
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

EXTRAS: Mapping[str, tuple[str, str]] = {
    "api": ("chdb", "about 1 GB"),
    "geo": ("iptocc", "about 10 MB"),
    "postgres": ("psycopg", "about 10 MB"),
    "s3": ("boto3", "about 35 MB"),
}
"""Each extra's largest module, and the disk space that it takes."""


def own_command() -> tuple[str, ...]:
    """Return the command that starts this installation, independent of PATH."""
    script = Path(sysconfig.get_path("scripts")) / "millimetric-mcp"
    return (str(script),) if script.is_file() else (sys.executable, "-m", "millimetric_mcp")


def has_extra(extra: str) -> bool:
    """Return whether an extra of the package is installed."""
    return find_spec(EXTRAS[extra][0]) is not None


def write_install_command(extra: str) -> str:
    """Return the command that adds an extra, from the place that the package came from."""
    source = _find_source() or "millimetric-mcp"
    return f"pip install {shlex.quote(f'{source}[{extra}]')}"


def describe_missing_extra(what: str, extra: str, *, missing: str) -> str:
    """Return what ``what`` needs, how much room it takes, and how to install it."""
    return (
        f"{what} needs the {extra} extra ({missing}; it takes {EXTRAS[extra][1]}). "
        f"Install it with: {write_install_command(extra)}"
    )


def _find_source() -> str | None:
    """Return the local path that the package was installed from, or None."""
    try:
        text = distribution("millimetric-mcp").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    parts = urlsplit(json.loads(text)["url"]) if text else None
    return unquote(parts.path) if parts and parts.scheme == "file" else None
