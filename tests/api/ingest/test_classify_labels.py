"""Labelled visits: every answer that the documented rules decide, and how often the medium
agrees with what a good classifier would say.

`reason` in the data says why a row differs from the label it was first given.
"""

import json
from pathlib import Path

import pytest

from millimetric_mcp.api.ingest.classify import classify

DATA = Path(__file__).parent / "data"


def read_rows(name):
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


URLS = read_rows("urls.jsonl")
REFERRERS = read_rows("referrers.jsonl")


@pytest.mark.parametrize("row", URLS, ids=lambda row: f"{row['url']} from {row['referrer']}")
def test_a_labelled_url_has_its_expected_classification(row):
    found = classify(row["url"], row["referrer"], row["request_host"])
    names = ("source", "medium", "campaign", "confidence", "rule")
    assert dict(zip(names, found, strict=True)) == row["cascade"]


@pytest.mark.parametrize("row", REFERRERS, ids=lambda row: row["referrer"])
def test_a_labelled_referrer_has_its_expected_classification(row):
    found = classify(f"https://{row['request_host']}/", row["referrer"], row["request_host"])
    expected = row["cascade"]
    assert found[:2] == (expected["source"], expected["medium"])
    assert found[3:] == (expected["confidence"], expected["rule"])


def test_at_least_97_percent_of_referrers_have_the_labelled_medium():
    agreed = [
        classify(None, row["referrer"], row["request_host"]).medium == row["medium"]
        for row in REFERRERS
    ]
    assert sum(agreed) / len(agreed) >= 0.97
    assert len(agreed) >= 145
