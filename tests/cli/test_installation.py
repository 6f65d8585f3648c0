import sys
from importlib.metadata import metadata

import pytest

from millimetric_mcp.cli.buckets import S3Bucket
from millimetric_mcp.cli.installation import EXTRAS
from millimetric_mcp.errors import SettingsError


def test_every_extra_of_the_package_has_its_module_and_size():
    assert set(EXTRAS) == set(metadata("millimetric-mcp").get_all("Provides-Extra"))


def test_a_bucket_without_its_extra_is_refused_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(SettingsError) as caught:
        S3Bucket("s3://backups/shop")

    [sentence] = caught.value.errors
    assert sentence.startswith("a bucket needs the s3 extra (boto3 is not installed; it takes ")
    assert "[s3]" in sentence
