"""Any number of JSON keeps its value in a free-form object, wherever it stands."""

import json
import tracemalloc
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from millimetric_mcp.api.ingest.validate import read_body
from millimetric_mcp.contract.events import TrackEvent
from millimetric_mcp.contract.validation import ExactNumber, compact_object

NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)
SPACES = st.text(" \t\r\n", max_size=3)
TEXTS = st.sampled_from(["", "e", ",e,", "1e5", "12345678901234567.5", "1" * 40, ":1E5,"])


@given(number=NUMBERS, before=SPACES, behind=SPACES, text=TEXTS)
def test_a_number_keeps_its_value_whatever_its_size_and_form(number, before, behind, text):
    spaced = before + number + behind
    body = f'{{"event":"x","properties":{{"a":{spaced},"b":[0,{spaced},{spaced}],"c":"{text}"}}}}'

    properties = read_body(TrackEvent, body.encode()).properties

    stored = json.loads(properties, parse_float=Decimal, parse_int=Decimal)
    value = Decimal(number)
    assert stored == {"a": value, "b": [0, value, value], "c": text}


def test_of_millions_of_numbers_no_more_is_written_than_may_be_stored():
    properties = {"a": [ExactNumber("1e5")] * 300_000}

    tracemalloc.start()
    with pytest.raises(PydanticCustomError, match="at most 8192 bytes"):
        compact_object(properties)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 4 * 1024 * 1024
