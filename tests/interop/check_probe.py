"""Check the JSON of ``openclaw mcp probe`` on standard input: every tool, and no complaint."""

import json
import sys

from millimetric_mcp.mcp.tools import TOOLS


def main() -> int:
    probed = json.load(sys.stdin)
    found = probed["servers"]["millimetric"]["tools"]
    if found != len(TOOLS) or probed["diagnostics"]:
        print(f"openclaw found {found} of {len(TOOLS)} tools: {probed}", file=sys.stderr)
        return 1
    print(f"connected, {found} tools")
    return 0


if __name__ == "__main__":
    sys.exit(main())
