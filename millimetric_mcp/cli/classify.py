"""``millimetric-mcp classify``: explain where a visit came from."""

import argparse
import json
import sys
from collections.abc import Mapping

import publicsuffixlist  # noqa: F401 - an error at once if the extra is missing
from pydantic import ValidationError

from millimetric_mcp.api.ingest.address import host_of
from millimetric_mcp.api.ingest.explanation import explain_classification, render_explanation
from millimetric_mcp.contract.events import TrackEvent
from millimetric_mcp.contract.validation import FieldError, list_field_errors
from millimetric_mcp.settings import ClassifierSettings, read_settings


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the explanation; return 0."""
    settings = read_settings(ClassifierSettings, environ=environ, options=vars(options))
    explanation = explain_classification(
        options.url, options.referrer, host_of(options.url), fbclid=settings.fbclid
    )
    for wrong in _list_errors(options):
        print(
            f"millimetric-mcp: the API would refuse this {wrong.field}: {wrong.message}",
            file=sys.stderr,
        )
    if options.json:
        print(json.dumps(explanation.to_json_dict(), indent=2))
    else:
        print(render_explanation(explanation))
    return 0


def _list_errors(options: argparse.Namespace) -> tuple[FieldError, ...]:
    """Return why the API would refuse an event of this visit."""
    try:
        TrackEvent(event="visit", url=options.url, referrer=options.referrer)
    except ValidationError as error:
        return list_field_errors(error)
    return ()
