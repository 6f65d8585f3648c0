"""The progress bar: on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from millimetric_mcp.cli.imports.files import SourceFile


@contextmanager
def show_progress(source: SourceFile) -> Iterator[Callable[[], object]]:
    """Show how much of the file is read; the function that is yielded moves the bar."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(source.name, total=source.size_bytes)
        yield lambda: bar.update(task, completed=source.done_bytes)
