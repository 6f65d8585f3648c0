"""The progress bar: on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from millimetric_mcp.cli.imports.files import SourceFile

MAX_NAME_CHARS = 24


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
    from rich.table import Column  # noqa: PLC0415

    # Without it a long name leaves no room for the bar.
    name = Column(no_wrap=True, max_width=MAX_NAME_CHARS)
    columns = (
        TextColumn("{task.description}", markup=False, table_column=name),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(source.name, total=source.size_bytes)
        # At the end of the file its last events are still being sent.
        yield lambda: bar.update(task, completed=max(bar.tasks[task].completed, source.done_bytes))
