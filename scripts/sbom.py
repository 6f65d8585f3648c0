"""Write what the API's installation consists of: an SBOM and a table of licences.

Run it as ``.venv/bin/python scripts/sbom.py``. With ``--check`` it writes nothing, and fails if a
file is out of date. Names and versions come from requirements/api.lock, which has every hash;
licences come from the installed packages.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "api.lock"
SBOM = ROOT / "requirements" / "sbom.cdx.json"
LICENCES = ROOT / "docs" / "licences.md"
NOT_INSTALLED = "not installed on this system"
BUILD_ONLY = frozenset({"editables", "hatchling", "pathspec", "pluggy", "trove-classifiers"})
_HEAD = """\
# Licences

For everybody who must know what an installation of `millimetric-mcp[api]` contains. The script of
the website (`/v1/a.js`) has no dependencies. `requirements/sbom.cdx.json` is the same list in the
form of CycloneDX, and `requirements/api.lock` has the hash of every file.

| package | version | licence |
| --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Component:
    """One package of the lock file; ``marker`` says on which systems it is installed."""

    name: str
    version: str
    marker: str
    licence: str


def main() -> int:
    """Return 0, or with ``--check`` 1 if a file is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if out of date")
    check = parser.parse_args().check
    components = sorted(read_lock(LOCK.read_text()), key=lambda component: component.name)
    texts = {
        SBOM: json.dumps(render_sbom(components), indent=1) + "\n",
        LICENCES: _HEAD + "".join(map(render_row, components)),
    }
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if check:
            print(
                f"{path.name} is out of date. Run scripts/sbom.py and commit it.", file=sys.stderr
            )
        else:
            path.write_text(texts[path])
    return 1 if stale and check else 0


def read_lock(text: str) -> Iterator[Component]:
    """Yield every package that the lock file installs to run the API."""
    for entry in re.split(r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.M)):
        found = re.match(r"([a-z0-9._-]+)==(\S+)(?: ; (.*?))?(?: \\)?\n", entry + "\n")
        if found and found[1] not in BUILD_ONLY:
            marker = (found[3] or "").strip()
            yield Component(found[1], found[2], marker, find_licence(found[1]))


def find_licence(name: str) -> str:
    """Return the licence that the installed package declares: an expression, else a classifier."""
    try:
        fields = metadata.metadata(name).json
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED
    classifiers = [
        text.rpartition(" :: ")[2]
        for text in fields.get("classifier", ())
        if text.startswith("License :: ") and not text.endswith("OSI Approved")
    ]
    lines = str(fields.get("license", "")).splitlines()
    declared = str(fields.get("license_expression", "")) or ", ".join(classifiers)
    return declared or (lines[0] if lines else "not declared")


def render_row(component: Component) -> str:
    """Return a line of the table."""
    return f"| {component.name} | {component.version} | {component.licence} |\n"


def render_sbom(components: list[Component]) -> dict[str, Any]:
    """Return the list in the form of CycloneDX."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "millimetric-mcp"}},
        "components": [
            {
                "type": "library",
                "bom-ref": f"pkg:pypi/{component.name}@{component.version}",
                "name": component.name,
                "version": component.version,
                "purl": f"pkg:pypi/{component.name}@{component.version}",
                "licenses": [{"license": {"name": component.licence}}],
                "properties": [{"name": "marker", "value": component.marker}],
            }
            for component in components
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
