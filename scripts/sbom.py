"""Write what the API's installation consists of: an SBOM and a table of licences.

Run it as ``.venv/bin/python scripts/sbom.py``. With ``--check`` it writes nothing, and fails if a
file is out of date. Names and versions come from requirements/server.lock, which has every hash of
an installation with all extras; licences come from the installed packages.
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
LOCK = ROOT / "requirements" / "server.lock"
API_LOCK = ROOT / "requirements" / "api.lock"
OTHER_EXTRAS = "geo, postgres or s3"
SBOM = ROOT / "requirements" / "sbom.cdx.json"
LICENCES = ROOT / "docs" / "licences.md"
NOT_INSTALLED = "not installed on this system"
BUILD_ONLY = frozenset({"editables", "hatchling", "pathspec", "pluggy", "trove-classifiers"})
_HEAD = """\
# Licences

For everybody who must know what an installation of `millimetric-mcp` contains: with the extra
`api`, and with `geo`, `postgres` and `s3`. The website's script (`/v1/a.js`) and the API's page
have no dependencies. `requirements/sbom.cdx.json` is the same list in the form of CycloneDX, and
`requirements/server.lock` has the hash of every file.

| package | version | extra | licence |
| --- | --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Component:
    """One package of the lock file; ``marker`` says on which systems it is installed.

    ``extra`` names what brings it: ``api``, or `OTHER_EXTRAS`.
    """

    name: str
    version: str
    marker: str
    extra: str
    licence: str


def main() -> int:
    """Return 0, or with ``--check`` 1 if a file is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if out of date")
    check = parser.parse_args().check
    components = read_components(LOCK.read_text(), api_lock=API_LOCK.read_text())
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


def read_components(lock: str, *, api_lock: str) -> list[Component]:
    """Return every package that the lock files install to run the API, by name."""
    of_api = {name for name, _, _ in read_lock(api_lock)}
    return [
        Component(
            name=name,
            version=version,
            marker=marker,
            extra="api" if name in of_api else OTHER_EXTRAS,
            licence=find_licence(name),
        )
        for name, version, marker in sorted(read_lock(lock))
    ]


def read_lock(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, version and marker of every package that is not only for the build."""
    for entry in re.split(r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.M)):
        found = re.match(r"([a-z0-9._-]+)==(\S+)(?: ; (.*?))?(?: \\)?\n", entry + "\n")
        if found and found[1] not in BUILD_ONLY:
            yield found[1], found[2], (found[3] or "").strip()


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
    cells = (component.name, component.version, component.extra, component.licence)
    return f"| {' | '.join(cells)} |\n"


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
                "properties": [
                    {"name": "marker", "value": component.marker},
                    {"name": "extra", "value": component.extra},
                ],
            }
            for component in components
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
