"""The progress bar of an import, on a terminal."""

import io
import re
import sys

import pytest

from millimetric_mcp.cli.imports.files import SourceFile
from millimetric_mcp.cli.imports.progress import show_progress

LONG_NAME = "access-log-of-the-shop-in-frankfurt-from-2026-05-01-to-2026-05-31-rotated.log"


class Terminal(io.StringIO):
    """Standard error as a terminal; what is written there is kept."""

    def isatty(self):
        return True


@pytest.mark.parametrize("name", ["a.log", LONG_NAME])
def test_the_bar_says_how_much_is_read_beside_a_name_of_any_length(monkeypatch, tmp_path, name):
    for variable, value in {"COLUMNS": "80", "TERM": "xterm"}.items():
        monkeypatch.setenv(variable, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    path = tmp_path / name
    path.write_bytes(b"x" * 2_000_000)
    source = SourceFile(path)

    with show_progress(source) as on_part:
        with source.open() as file:
            file.read(1_000_000)
            on_part()
        on_part()  # what was read is sent after the file was closed

    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    last = [frame for frame in re.split(r"[\r\n]+", shown) if frame.strip()][-1]
    assert "1.0/2.0 MB" in last
    assert "━" in last
    assert name[:20].removesuffix(".log") in last
