"""Make the README's picture of the page, ``docs/page.png``, from the demo's data.

Needs Chromium. Run it after a change of the page: ``.venv/bin/python scripts/screenshot.py``
"""

import asyncio
import os
import sys
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.browser import find_browser, run_browser  # noqa: E402
from bench.parts.page import STEPS  # noqa: E402
from millimetric_mcp.contract.endpoints import LINK  # noqa: E402
from millimetric_mcp.demo import processes  # noqa: E402
from millimetric_mcp.demo.batches import cut_batches, send_batches  # noqa: E402
from millimetric_mcp.demo.generator import generate  # noqa: E402
from millimetric_mcp.demo.walkthrough import SEED  # noqa: E402

PICTURE = ROOT / "docs" / "page.png"
EVENTS, DAYS = 60_000, 61
"""30 days, and the 30 before."""
SIZE = {"width": 1100, "height": 1600}


def main() -> int:
    """Return 1 if there is no browser."""
    command = find_browser()
    if command is None:
        sys.stderr.write(
            "Chromium is missing. Install it, such as: sudo apt-get install chromium\n"
        )
        return 1
    with (
        TemporaryDirectory(prefix="millimetric-screenshot-", ignore_cleanup_errors=True) as place,
        processes.run_api(Path(place), environ=os.environ) as api,
    ):
        keys = processes.create_keys(api, environ=os.environ)
        events = generate(seed=SEED, end=datetime.now(UTC), events=EVENTS, days=DAYS)
        asyncio.run(
            send_batches(cut_batches(events), url=api.url, key=keys.write, on_sent=lambda _: None)
        )
        headers = {"Authorization": f"Bearer {keys.read}"}
        code = httpx.post(api.url + LINK.path, json={}, headers=headers).json()["code"]
        PICTURE.write_bytes(
            take_picture(command, Path(place, "browser"), f"{api.url}/#code={code}")
        )
    sys.stdout.write(f"wrote {PICTURE.relative_to(ROOT)}\n")
    return 0


def take_picture(command: str, profile: Path, url: str) -> bytes:
    """Return the top of the page as a PNG, in English and in UTC."""
    with run_browser(command, profile) as browser, browser.open() as tab:
        tab.send("Emulation.setDeviceMetricsOverride", deviceScaleFactor=1, mobile=False, **SIZE)
        tab.send("Emulation.setScrollbarsHidden", hidden=True)
        tab.send("Emulation.setTimezoneOverride", timezoneId="UTC")
        tab.send("Emulation.setLocaleOverride", locale="en-US")
        tab.send("Page.navigate", url=url)
        tab.wait_for(STEPS["everything"])
        picture = tab.send("Page.captureScreenshot", format="png")
    return b64decode(picture["data"])


if __name__ == "__main__":
    sys.exit(main())
