"""``millimetric-mcp check``: whether store, control database and secrets belong together."""

import argparse
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime

from millimetric_mcp.api.administration import INSPECT
from millimetric_mcp.api.checks import CheckResult, list_results
from millimetric_mcp.cli.administer import find_deployment
from millimetric_mcp.cli.output import print_json
from millimetric_mcp.settings import DeploymentSettings, read_settings


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print what was found, with what to do; return 1 if something is wrong.

    Raises:
        SettingsError: there is no data directory, or its pepper or IP salt is another one.
        StoreError: the store or the control database can't be opened.
    """
    deployment = find_deployment(
        read_settings(DeploymentSettings, environ=environ, options=vars(options))
    )
    # First, since an older control database can be opened after it.
    store = deployment.administer({"do": INSPECT})["store"]
    with closing(deployment.open_control()) as control:
        facts = control.inspect()
    findings = [
        CheckResult("secrets", "Pepper and IP salt are those of the control database"),
        *list_results(store, facts, now=datetime.now(UTC)),
    ]
    wrong = [finding for finding in findings if finding.remedy]
    if options.json:
        print_json({"ok": not wrong, "findings": [asdict(one) for one in findings]})
    else:
        for one in findings:
            print(f"{'WRONG' if one.remedy else 'ok':<6}{one.subject}: {one.fact}.")
            if one.remedy:
                print(f"      {one.remedy}")
    return 1 if wrong else 0
