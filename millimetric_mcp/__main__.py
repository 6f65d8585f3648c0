"""``python -m millimetric_mcp``: the same as the ``millimetric-mcp`` command."""

import sys

from millimetric_mcp.cli import main

sys.exit(main())
