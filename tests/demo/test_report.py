"""The demo's charts and its comparison of values."""

import pytest

from millimetric_mcp.demo.checks import compare
from millimetric_mcp.demo.report import BAR_WIDTH, draw_bar, draw_columns


@pytest.mark.parametrize(
    ("value", "largest", "cells"),
    [(10, 10, BAR_WIDTH), (5, 10, BAR_WIDTH // 2), (1, 1000, 1), (0, 10, 0), (0, 0, 0)],
)
def test_bar_is_as_long_as_its_value(value: int, largest: int, cells: int) -> None:
    assert draw_bar(value, largest=largest) == "█" * cells


def test_columns_are_as_high_as_their_values() -> None:
    assert draw_columns([0, 1, 4, 8]) == " ▁▄█"
    assert draw_columns([0, 0]) == "  "


@pytest.mark.parametrize(
    ("found", "is_correct"),
    [
        (100, True),
        (103, True),
        (97, True),
        (104, False),
        (96, False),
        (None, False),
        ("100", False),
    ],
)
def test_estimate_is_correct_within_the_tolerance(found: object, is_correct: bool) -> None:
    checks = compare("visitors", found={"total": found}, sent={"total": 100}, tolerance=0.03)
    assert (not checks.mismatches) is is_correct
    assert checks.correct == is_correct


def test_mismatch_names_the_value_that_came_back_and_the_one_sent() -> None:
    checks = compare("events", found={"a": 6, "b": 1, "d": 2}, sent={"a": 9, "c": 1, "d": 2})
    assert checks.correct == 1
    assert checks.mismatches == [
        "events (a): got 6, expected 9",
        "events (b): got 1, expected nothing",
        "events (c): got nothing, expected 1",
    ]
