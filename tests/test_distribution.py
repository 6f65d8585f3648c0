"""What a published package holds: the wheel runs the product, the sdist also runs its tests."""

import subprocess
import sys
import tarfile
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest

from millimetric_mcp import __version__

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


def list_files(folder):
    files = (file for file in (ROOT / folder).rglob("*") if file.is_file())
    return {str(file.relative_to(ROOT)) for file in files if "__pycache__" not in file.parts}


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
    files = {name for name in wheel.namelist() if not name.startswith(f"{NAME}.dist-info/")}

    assert files == list_files("millimetric_mcp")


@pytest.mark.parametrize("suffix", [".py", ".sql", ".toml", "a.js", "py.typed"])
def test_the_wheel_holds_code_data_and_types(wheel, suffix):
    assert any(name.endswith(suffix) for name in wheel.namelist())


def test_the_metadata_names_the_extras_for_users_only(wheel):
    metadata = message_from_bytes(wheel.read(f"{NAME}.dist-info/METADATA"))

    assert metadata.get_all("Provides-Extra") == ["api", "geo", "postgres"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Operating System :: OS Independent" not in metadata.get_all("Classifier")
    links = {link.partition(", ")[0] for link in metadata.get_all("Project-URL")}
    assert links == {"Homepage", "Source", "Issues", "Changelog"}


@pytest.mark.parametrize("folder", ["bench", "docs", "requirements", "scripts", "skills", "tests"])
def test_the_sdist_holds_what_its_tests_need(directory, folder):
    with tarfile.open(directory / f"{NAME}.tar.gz") as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}

    assert list_files(folder) <= names
