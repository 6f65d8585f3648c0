"""``millimetric-mcp classify``: which rule of the classifier fires, and why."""

import argparse
import json
import sys
from collections.abc import Mapping

import publicsuffixlist  # noqa: F401  loaded late otherwise: a missing extra is said at once

from millimetric_mcp.api.ingest.address import host_of
from millimetric_mcp.api.ingest.explanation import explain, render_explanation
from millimetric_mcp.contract.validation import check_absolute_url


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """Prints the explanation; every input has one."""
    explanation = explain(options.url, options.referrer, host_of(options.url))
    try:
        check_absolute_url(options.url)
    except ValueError as error:
        print(f"millimetric-mcp: the API would refuse this url: it {error}", file=sys.stderr)
    if options.json:
        print(json.dumps(explanation.to_json_dict(), indent=2))
    else:
        print(render_explanation(explanation))
    return 0
