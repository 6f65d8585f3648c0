"""Runs a request in the API process of a data directory, or here if no API runs."""

import asyncio
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millimetric_mcp.api.administration import Administration
from millimetric_mcp.api.channel import Request, ask
from millimetric_mcp.api.control import Control, Secrets, datadir
from millimetric_mcp.api.store import EventStore, StoreTarget, hold_directories
from millimetric_mcp.cli.api import open_databases, resolve_store
from millimetric_mcp.settings import DeploymentSettings


@dataclass(frozen=True, slots=True)
class Deployment:
    """A data directory that exists, with what its settings name."""

    settings: DeploymentSettings
    data_dir: Path
    target: StoreTarget
    secrets: Secrets

    def open_control(self) -> Control:
        """Return the control database.

        Raises:
            SettingsError: its pepper or IP salt is another one, or it is of another version.
        """
        return datadir.open_control_of(self.settings, self.data_dir, self.secrets)

    def administer(self, request: Request) -> dict[str, Any]:
        """Return the answer to a request of `Administration`.

        If no API runs, older databases are upgraded, as the API does when it starts.

        Raises:
            SettingsError: no API runs, and the control database can't be used.
            StoreError: the store or the control database failed.
        """
        answer = ask(self.data_dir, request)
        if answer is not None:
            return answer
        with hold_directories(self.data_dir, self.target):
            control, store = open_databases(
                self.settings, self.data_dir, self.target, self.secrets, max_queued_events=1000
            )
            with closing(control):
                return asyncio.run(_answer_here(control, store, request))


def find_deployment(settings: DeploymentSettings) -> Deployment:
    """Return the deployment of the settings; create nothing.

    Raises:
        SettingsError: the data directory holds none, or a setting is wrong.
    """
    datadir.keep_private()
    data_dir = datadir.find_data_dir(settings)
    return Deployment(
        settings,
        data_dir,
        resolve_store(settings, data_dir),
        datadir.resolve_secrets(settings, data_dir),
    )


async def _answer_here(control: Control, store: EventStore, request: Request) -> dict[str, Any]:
    store.start()
    try:
        return await Administration(control, store).answer(request)
    finally:
        await store.close()
