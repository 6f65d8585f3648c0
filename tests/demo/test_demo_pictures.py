"""Bars and checks: what is drawn and what counts as agreeing."""

import pytest

from millimetric_mcp.demo.charts import (
    ASCII,
    BLOCKS,
    choose_ink,
    draw_axis,
    draw_bar,
    draw_columns,
    draw_split,
)
from millimetric_mcp.demo.checks import Checks


@pytest.mark.parametrize(
    ("encoding", "ink"),
    [("utf-8", BLOCKS), ("ascii", ASCII), ("latin-1", ASCII), ("no-such-codec", ASCII)],
)
def test_blocks_are_drawn_where_the_encoding_has_them(encoding: str, ink: object) -> None:
    assert choose_ink(encoding) is ink


@pytest.mark.parametrize(
    ("value", "most", "bar"),
    [(10, 10, "##########"), (5, 10, "#####"), (1, 1000, "#"), (0, 10, ""), (0, 0, "")],
)
def test_a_bar_is_as_long_as_its_value_and_never_invisible(value: int, most: int, bar: str) -> None:
    assert draw_bar(value, most=most, width=10, ink=ASCII) == bar


@pytest.mark.parametrize("share", [0, 0.25, 0.667, 1])
def test_a_split_fills_its_width(share: float) -> None:
    left, right = draw_split(share, width=40, ink=ASCII)
    assert len(left) == round(40 * share)
    assert len(left) + len(right) == 40


def test_columns_stand_as_high_as_their_values() -> None:
    assert draw_columns([0, 1, 2, 4], height=2, width=2, ink=ASCII) == [
        "      #",
        "  : # #",
    ]


@pytest.mark.parametrize("values", [[], [0, 0]], ids=["none", "zeros"])
def test_nothing_is_drawn_of_nothing(values: list[int]) -> None:
    assert "".join(draw_columns(values, height=3, width=2, ink=ASCII)) == ""


def test_labels_that_would_touch_are_left_out() -> None:
    labels = ["", "Apr 06", "", "Apr 08", "", "", "Apr 13"]
    assert draw_axis(labels, width=2) == "  Apr 06    Apr 13"


@pytest.mark.parametrize(
    ("found", "sent", "agrees"),
    [(10, 10, True), (11, 10, False), (103, 100, True), (104, 100, False), (97, 100, True)],
)
def test_an_estimate_may_be_three_per_cent_off(found: int, sent: int, agrees: bool) -> None:
    checks = Checks()
    checks.near("visitors", found=found, sent=sent)
    assert (not checks.mismatches) is agrees
    assert checks.agreed == agrees


@pytest.mark.parametrize("found", [None, "10", 10.0, True], ids=repr)
def test_what_is_no_count_is_no_estimate_either(found: object) -> None:
    checks = Checks()
    checks.near("visitors", found=found, sent=10)
    assert checks.mismatches


def test_a_mismatch_says_what_came_back_and_what_was_sent() -> None:
    checks = Checks()
    checks.equal("events of facebook", found=6, sent=9)
    checks.same_keys("sources", found={("a",): 1}, sent={("b",): 1})
    assert checks.mismatches == [
        "events of facebook: 6 came back, 9 was sent",
        "sources: missing [('b',)]",
        "sources: never sent [('a',)]",
    ]
