"""Chromium without a window, driven over its pipe: how long a page takes in a real browser."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from bench.processes import stop

COMMANDS = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = ("--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run")


def find_browser() -> str | None:
    """The first browser on the PATH that understands the protocol."""
    return next(filter(None, map(shutil.which, COMMANDS)), None)


class Browser:
    """Commands of the DevTools protocol, and their results."""

    def __init__(self, writing: int, reading: int) -> None:
        self._to_browser = os.fdopen(writing, "wb")
        self._from_browser = os.fdopen(reading, "rb")
        self._numbers = count(1)
        self._rest = b""

    def send(self, method: str, params: Mapping[str, object], session: str | None = None) -> Any:  # noqa: ANN401
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self._to_browser.write(json.dumps(message).encode() + b"\0")
        self._to_browser.flush()
        while (received := self._receive()).get("id") != number:
            pass
        if "error" in received:
            raise RuntimeError(f"{method}: {received['error']}")
        return received["result"]

    @contextmanager
    def open(self) -> Iterator["Tab"]:
        """An empty tab, to the end of the block."""
        target = self.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self.send("Target.attachToTarget", {"targetId": target, "flatten": True})
        yield Tab(self, attached["sessionId"])
        self.send("Target.closeTarget", {"targetId": target})

    def close(self) -> None:
        self._to_browser.close()
        self._from_browser.close()

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = self._from_browser.read1(65_536)
            if not part:
                raise RuntimeError("the browser ended")
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(text)
        return found


@dataclass(frozen=True, slots=True)
class Tab:
    """A tab and its session."""

    browser: Browser
    session: str

    def send(self, method: str, **params: object) -> Any:  # noqa: ANN401
        return self.browser.send(method, params, self.session)

    def wait_for(self, condition: str) -> float:
        """Milliseconds from the navigation until the condition held; it is JavaScript."""
        found = self.send("Runtime.evaluate", expression=_WAIT % condition, awaitPromise=True)
        value: float = found["result"]["value"]
        return value


_WAIT = """new Promise((done) => {
  const look = () => (%s) ? done(performance.now()) : setTimeout(look, 5);
  look();
})"""


@contextmanager
def run_browser(command: str, directory: Path) -> Iterator[Browser]:
    """A browser with a profile in ``directory``, to the end of the block."""
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()

    def take_places() -> None:  # the protocol's pipes are 3 and 4
        taken = os.dup(theirs_in), os.dup(theirs_out)
        os.dup2(taken[0], 3)
        os.dup2(taken[1], 4)

    process = subprocess.Popen(
        [command, *_OPTIONS, f"--user-data-dir={directory}", "about:blank"],
        preexec_fn=take_places,  # noqa: PLW1509 - one thread runs here
        close_fds=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    browser = Browser(ours_out, ours_in)
    try:
        yield browser
    finally:
        browser.close()
        stop(process)
