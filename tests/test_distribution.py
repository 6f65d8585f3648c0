"""What a published package holds: the wheel runs the product, the sdist also runs its tests."""

import json
import re
import subprocess
import sys
import tarfile
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from millimetric_mcp import __version__
from millimetric_mcp.settings import ApiSettings, ServeSettings, list_settings

ROOT = Path(__file__).resolve().parent.parent
NAME = f"millimetric_mcp-{__version__}"


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A directory with the sdist, and the wheel built from the sdist."""
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, ROOT]
    built = subprocess.run(command, capture_output=True, check=False, text=True, timeout=120)
    assert built.returncode == 0, built.stdout + built.stderr
    return directory


@pytest.fixture(scope="module")
def wheel(directory):
    with ZipFile(directory / f"{NAME}-py3-none-any.whl") as wheel:
        yield wheel


def read_json(path):
    return json.loads((ROOT / path).read_text())


def list_files(folder):
    files = (file for file in (ROOT / folder).rglob("*") if file.is_file())
    return {str(file.relative_to(ROOT)) for file in files if "__pycache__" not in file.parts}


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
    files = {name for name in wheel.namelist() if not name.startswith(f"{NAME}.dist-info/")}

    assert files == list_files("millimetric_mcp")


@pytest.mark.parametrize(
    "suffix", [".py", ".sql", ".toml", "a.js", "index.html", "page.css", "py.typed"]
)
def test_the_wheel_holds_code_data_and_types(wheel, suffix):
    assert any(name.endswith(suffix) for name in wheel.namelist())


def test_the_metadata_names_the_extras_for_users_only(wheel):
    metadata = message_from_bytes(wheel.read(f"{NAME}.dist-info/METADATA"))

    assert metadata.get_all("Provides-Extra") == ["api", "geo", "postgres", "s3"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Operating System :: OS Independent" not in metadata.get_all("Classifier")
    links = {link.partition(", ")[0] for link in metadata.get_all("Project-URL")}
    assert links == {"Homepage", "Source", "Issues", "Changelog"}


def test_the_registry_finds_its_name_in_the_published_description(wheel):
    metadata = message_from_bytes(wheel.read(f"{NAME}.dist-info/METADATA"))
    server = read_json("server.json")

    assert f"<!-- mcp-name: {server['name']} -->" in metadata.get_payload()
    assert metadata["Summary"] == server["description"]
    assert len(server["description"]) <= 100


MANIFESTS = ["server.json", "deploy/mcpb/manifest.json", ".claude-plugin/plugin.json"]
MANIFESTS.append(".codex-plugin/plugin.json")


@pytest.mark.parametrize("path", MANIFESTS)
def test_a_manifest_has_the_version_of_the_package(path):
    manifest = read_json(path)

    assert manifest["version"] == __version__
    assert all(package["version"] == __version__ for package in manifest.get("packages", ()))


def test_manifests_name_variables_of_the_mcp_server_only():
    known = {setting.variable for setting in list_settings(ServeSettings)}
    [package] = read_json("server.json")["packages"]
    bundle = read_json("deploy/mcpb/manifest.json")["server"]["mcp_config"]["env"]

    assert {variable["name"] for variable in package["environmentVariables"]} <= known
    assert set(bundle) <= known


def test_the_compose_file_passes_settings_of_the_api_on():
    known = {setting.variable for setting in list_settings(ApiSettings)}
    api = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["api"]
    example = (ROOT / "deploy/server.env.example").read_text()
    given = set(re.findall(r"^(MILLIMETRIC_\w+)=", example, re.MULTILINE))

    assert set(api["environment"]) <= known
    assert given <= set(api["environment"])


def test_the_image_gets_every_file_that_it_copies():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    file = (ROOT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", file, re.MULTILINE)

    assert {name for line in copied for name in line.split()} == kept
    assert all((ROOT / name).exists() for name in kept)


@pytest.mark.parametrize(
    ("pattern", "named", "hashed"),
    [
        ("Dockerfile", r"^FROM (\S+)", r".+@sha256:[0-9a-f]{64}"),
        ("compose.yaml", r"image: (?!millimetric-mcp$)(\S+)", r".+@sha256:[0-9a-f]{64}"),
        (".github/workflows/*.yml", r"uses: (\S+)", r".+@[0-9a-f]{40}"),
    ],
)
def test_images_and_actions_are_named_by_their_hashes(pattern, named, hashed):
    files = [file.read_text() for file in sorted(ROOT.glob(pattern))]
    names = [name for text in files for name in re.findall(named, text, re.MULTILINE)]

    assert names
    assert [name for name in names if not re.fullmatch(hashed, name)] == []


@pytest.mark.parametrize("folder", ["bench", "docs", "requirements", "scripts", "skills", "tests"])
def test_the_sdist_holds_what_its_tests_need(directory, folder):
    with tarfile.open(directory / f"{NAME}.tar.gz") as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}

    assert list_files(folder) <= names
