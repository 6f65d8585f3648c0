"""Questions to the person at the terminal before something that can't be undone."""

import sys

from millimetric_mcp.errors import SettingsError


def confirm(question: str, *, yes: bool) -> bool:
    """Return whether the person agrees; ``yes`` says that they did so on the command line.

    Raises:
        SettingsError: no person can be asked, because standard input is not a terminal.
    """
    if yes:
        return True
    return _ask(f"{question} [y/N] ", question).lower() in {"y", "yes"}


def confirm_name(question: str, name: str, *, yes: bool) -> bool:
    """Return whether the person typed ``name``; otherwise as `confirm`."""
    return yes or _ask(f"{question}\nType the project's name to go on: ", question) == name


def _ask(prompt: str, question: str) -> str:
    if sys.stdin is None or not sys.stdin.isatty():
        raise SettingsError([f"{question} Add --yes if you are sure."])
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline().strip()
