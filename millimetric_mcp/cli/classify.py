"""``millimetric-mcp classify``: which rule of the classifier fires, and why."""

import argparse
import json
import sys
from collections.abc import Mapping

import publicsuffixlist  # noqa: F401  loaded late otherwise: a missing extra is said at once
from pydantic import ValidationError

from millimetric_mcp.api.ingest.address import host_of
from millimetric_mcp.api.ingest.explanation import explain, render_explanation
from millimetric_mcp.contract.events import TrackEvent
from millimetric_mcp.contract.validation import FieldError, list_field_errors


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """Prints the explanation; every input has one."""
    explanation = explain(options.url, options.referrer, host_of(options.url))
    for fault in _list_refusals(options):
        print(
            f"millimetric-mcp: the API would refuse this {fault.field}: {fault.message}",
            file=sys.stderr,
        )
    if options.json:
        print(json.dumps(explanation.to_json_dict(), indent=2))
    else:
        print(render_explanation(explanation))
    return 0


def _list_refusals(options: argparse.Namespace) -> tuple[FieldError, ...]:
    """What the API would say of an event of this visit."""
    try:
        TrackEvent(event="visit", url=options.url, referrer=options.referrer)
    except ValidationError as error:
        return list_field_errors(error)
    return ()
