"""The page of ``GET /`` in Chromium, opened by a one-time link: first numbers, and everything."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import httpx

from bench.browser import find_browser, run_browser
from bench.data import WINDOW
from bench.figures import write_number
from bench.report import Bar, Chart, Check, Findings, Table
from bench.workspace import Deployment, Workspace
from millimetric_mcp.contract.endpoints import LINK

TITLE = "The page in a browser"
MOST_FIRST_MS = 1000
STEPS = {
    "first numbers": "document.querySelectorAll('section:not([hidden]) dd.number').length >= 4",
    "everything": "document.getElementById('goal') && !document.querySelector('[aria-busy]')",
}
"""What the reader waits for, as conditions in the page: of 30 days, visitors and page views."""


@dataclass(frozen=True, slots=True)
class Size:
    """Milliseconds from the navigation to each step, of each repetition."""

    events: int
    times_ms: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in STEPS})


def measure(workspace: Workspace) -> Findings:
    """Each store in turn; the browser's cache is empty in the first, uncounted repetition only."""
    command = find_browser()
    if command is None:
        return Findings(notes=["Not measured: there is no Chromium on this machine."])
    counts = (workspace.scale.small_events, workspace.scale.large_events)
    sizes = [_measure_size(workspace, command, events) for events in counts]
    large = sizes[-1]
    return Findings(
        checks=[
            Check(
                f"The page, {large.events:,} events, navigation to the first numbers",
                median(large.times_ms["first numbers"]),
                "ms",
                MOST_FIRST_MS,
                at_most=True,
            )
        ],
        tables=[
            Table(
                "From the navigation, median, ms",
                ("events", *STEPS),
                [
                    (f"{size.events:,}", *(write_number(median(t)) for t in size.times_ms.values()))
                    for size in sizes
                ],
            )
        ],
        charts=[_draw(sizes)],
        raw={"sizes": sizes},
        notes=[
            "30 days against the 30 before, all panels, with a headless Chromium beside the API."
        ],
    )


def _measure_size(workspace: Workspace, command: str, events: int) -> Size:
    data_dir, _ = workspace.load(events)
    size = Size(events)
    with (
        TemporaryDirectory(prefix="bench-browser-", ignore_cleanup_errors=True) as profile,
        workspace.deploy(data_dir) as api,
        run_browser(command, Path(profile)) as browser,
    ):
        for repetition in range(workspace.scale.reads + 1):
            with browser.open() as tab:
                tab.send("Page.navigate", url=_make_link(api))
                for name, condition in STEPS.items():
                    took_ms = tab.wait_for(condition)
                    if repetition:
                        size.times_ms[name].append(took_ms)
    return size


def _make_link(api: Deployment) -> str:
    """The page's address with the window of the data, and with a code that signs in."""
    first, last = (moment.date() for moment in WINDOW)
    answer = httpx.post(
        str(api.http.base_url.join(LINK.path)), json={}, headers=api.http.headers, trust_env=False
    )
    answer.raise_for_status()
    days = f"from={first + timedelta(days=1)}&to={last}"
    return f"{api.http.base_url}/?range=custom&{days}&zone=UTC#code={answer.json()['code']}"


def _draw(sizes: Sequence[Size]) -> Chart:
    return Chart(
        "page",
        "The page of 30 days in Chromium, from the navigation",
        "milliseconds",
        [
            Bar(f"{size.events:,} events, {name}", median(times_ms), ours=True)
            for size in sizes
            for name, times_ms in size.times_ms.items()
        ],
    )
