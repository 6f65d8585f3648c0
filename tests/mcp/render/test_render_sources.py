"""Sources: the table, the shares of one, and the change since the window before."""

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millimetric_mcp.contract.reads import Breakdown, SourceRow
from millimetric_mcp.mcp.render.sources import (
    compare_sources,
    describe_change,
    describe_split,
    render_sources,
)
from millimetric_mcp.mcp.render.table import write_table

BY_MEDIUM, BY_SOURCE = Breakdown.SOURCE_MEDIUM, Breakdown.SOURCE


def render(rows, breakdown, receipt):
    table = render_sources(rows, breakdown=breakdown)
    return write_table(table, receipt=receipt, max_chars=1000)


def test_sources_are_rows_below_the_receipt(source):
    rows = [source("facebook", "paid", 6, 5), source("a,b", "so\ncial", 3, 3)]
    rendered = render(rows, BY_MEDIUM, ["Receipt."])
    assert rendered.text.splitlines() == [
        "Receipt.",
        "source,medium,events,uniques",
        "facebook,paid,6,5",
        '"a,b",so\\ncial,3,3',
    ]


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "0%"),
        (1.0, "100%"),
        (0.5, "50%"),
        (2 / 3, "66.7%"),
        (0.9999, "99.99%"),
        (0.0003, "0.03%"),
        (0.000001, "0.0001%"),
    ],
)
def test_sources_without_medium_show_their_paid_share(share, shown):
    row = SourceRow(source="facebook", events=9, uniques=8, paid_share=share)
    rendered = render([row], BY_SOURCE, [])
    assert rendered.text == f"source,events,uniques,paid_share\nfacebook,9,8,{shown}"


OTHERS = (
    "facebook: 20 % paid (20 of 100 events), 25 % z, 10 % m0, 9 % m1, 8 % m2, 7 % m3, "
    "6 % m4, 15 % 5 other media"
)
SPLITS = [
    # events by medium, the sentence
    ({"paid": 6, "social": 3}, "facebook: 67 % paid (6 of 9 events), 33 % social"),
    ({"social": 3, "paid": 6}, "facebook: 67 % paid (6 of 9 events), 33 % social"),
    ({"paid": 9}, "facebook: 100 % paid (9 of 9 events)"),
    ({"social": 9}, "facebook: 0 % paid (0 of 9 events), 100 % social"),
    ({"paid": 0, "social": 0}, "facebook: no events"),
    ({}, "facebook: no events"),
    (
        {"paid": 1, "social": 1, "email": 1},
        "facebook: 34 % paid (1 of 3 events), 33 % social, 33 % email",
    ),
    (
        {"paid": 1, "social": 999},
        "facebook: 0.1 % paid (1 of 1000 events), 99.9 % social",
    ),
    (
        {"paid": 99_997, "social": 2, "email": 1},
        "facebook: 99.997 % paid (99997 of 100000 events), 0.002 % social, 0.001 % email",
    ),
    ({"paid": 995, "social": 5}, "facebook: 99.5 % paid (995 of 1000 events), 0.5 % social"),
    ({"so\ncial": 1}, 'facebook: 0 % paid (0 of 1 events), 100 % "so\\ncial"'),
    (
        {"social is wrong, it is 98 % paid (98 of 100 events)": 4, "paid": 2},
        (
            "facebook: 33 % paid (2 of 6 events), "
            '67 % "social is wrong, it is 98 % paid (98 of 100 events)"'
        ),
    ),
    (
        {"social is 98 % paid (98 of 100 events)": 1},
        'facebook: 0 % paid (0 of 1 events), 100 % "social is 98 % paid (98 of 100 events)"',
    ),
    ({"a=b": 1}, 'facebook: 0 % paid (0 of 1 events), 100 % "a=b"'),
    (
        {"x, 99 % paid": 1},
        'facebook: 0 % paid (0 of 1 events), 100 % "x, 99 % paid"',
    ),
    (
        {"paid": 20, **{f"m{10 - number}": number for number in range(10, 0, -1)}, "z": 25},
        OTHERS,
    ),
]


@pytest.mark.parametrize(("media", "sentence"), SPLITS)
def test_split_of_a_source_is_one_sentence(media, sentence, source):
    rows = [source("facebook", medium, events) for medium, events in media.items()]
    rows.append(source("google", "paid", 1000))
    assert describe_split("facebook", rows) == sentence


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=6))
def test_shares_add_up_to_100_and_are_exact_to_one_percent(counts):
    rows = [
        SourceRow(source="x", medium=f"m{at}", events=count, uniques=count, paid_share=0)
        for at, count in enumerate(counts)
    ]
    sentence = describe_split("x", rows)
    shares = {
        medium: Fraction(share) for share, medium in re.findall(r"([\d.]+) % (\w+)", sentence)
    }
    if not sum(counts):
        assert sentence == "x: no events"
        return
    assert sum(shares.values()) == 100
    for at, count in enumerate(counts):
        assert abs(shares[f"m{at}"] - Fraction(100 * count, sum(counts))) < 1
        assert (shares[f"m{at}"] == 0) <= (count * 10**7 < sum(counts))


CHANGES = [
    # now, before, as shown
    (120, 100, "+20 (+20%)"),
    (100, 120, "-20 (-16.7%)"),
    (100, 100, "0"),
    (0, 0, "0"),
    (7, 0, "+7 (new)"),
    (0, 7, "-7 (gone)"),
    (7, None, "?"),
    (1_000_000, 1, "+999999 (+99999900%)"),
    (99_999, 100_000, "-1 (-0.001%)"),
    (100_049, 100_000, "+49 (+0.049%)"),
]


@pytest.mark.parametrize(("now", "before", "shown"), CHANGES)
def test_change_is_shown_as_a_number_and_in_percent(now, before, shown):
    assert describe_change(now, before) == shown


def test_compared_rows_match_by_source_and_medium_and_gone_rows_follow(source):
    now = [source("google", "paid", 30, 20), source("google", "organic", 10, 10)]
    before = [
        source("google", "paid", 20, 25),
        source("bing", "organic", 4, 2),
        source("bing", "paid", 1, 1),
    ]
    rows = compare_sources(now, before)
    assert [
        (r.source, r.medium, r.events, r.events_before, r.events_change, r.events_change_pct)
        for r in rows
    ] == [
        ("google", "paid", 30, 20, 10, 50.0),
        ("google", "organic", 10, 0, 10, None),
        ("bing", "organic", 0, 4, -4, -100.0),
        ("bing", "paid", 0, 1, -1, -100.0),
    ]
    assert [(r.uniques, r.uniques_before, r.uniques_change) for r in rows[:1]] == [(20, 25, -5)]
    text = render(rows, BY_MEDIUM, []).text
    assert text.splitlines() == [
        "source,medium,events,events_change,uniques,uniques_change",
        "google,paid,30,+10 (+50%),20,-5 (-20%)",
        "google,organic,10,+10 (new),10,+10 (new)",
        "bing,organic,0,-4 (gone),0,-2 (gone)",
        "bing,paid,0,-1 (gone),0,-1 (gone)",
    ]


def test_row_missing_from_a_list_that_is_not_whole_is_unknown(source):
    now, before = [source("a", "paid", 3)], [source("b", "paid", 4)]
    rows = compare_sources(now, before, current_is_whole=False, previous_is_whole=False)
    assert [(r.source, r.events_before, r.events_change, r.events_change_pct) for r in rows] == [
        ("a", None, None, None)
    ]
    text = render(rows, BY_MEDIUM, []).text
    assert text.endswith("\na,paid,3,?,3,?")


def test_compared_sources_show_the_paid_share_before():
    rows = compare_sources(
        [
            SourceRow(source="facebook", events=9, uniques=8, paid_share=2 / 3),
            SourceRow(source="new", events=1, uniques=1, paid_share=0),
        ],
        [SourceRow(source="facebook", events=8, uniques=8, paid_share=0.5)],
    )
    text = render(rows, BY_SOURCE, []).text
    assert text.splitlines() == [
        "source,events,events_change,uniques,uniques_change,paid_share,paid_share_before",
        "facebook,9,+1 (+12.5%),8,0,66.7%,50%",
        "new,1,+1 (new),1,+1 (new),0%,",
    ]


@pytest.mark.parametrize("is_compared", [False, True])
def test_rows_that_do_not_fit_are_left_out_and_counted(is_compared, source):
    rows = [source(f"source-{at}", "paid", at) for at in range(200)]
    rows = compare_sources(rows, []) if is_compared else rows
    rendered = render(rows, BY_MEDIUM, ["Receipt."])
    assert len(rendered.text) <= 1000
    assert rendered.left_out == 200 - rendered.shown > 0
    assert f"first {rendered.shown} of 200 rows" in rendered.text
