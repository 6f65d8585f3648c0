"""Which events are touches, and what a session counts for."""

import json
import tomllib
from importlib import resources

import pytest

PASSTHROUGH = tomllib.loads(
    (resources.files("millimetric_mcp.api") / "data" / "passthrough.toml").read_text()
)
PAGE = "https://shop.example"


async def send(api, events):
    assert (await api.post("/v1/batch", {"events": events})).status_code == 202


async def count_by(api, column, **asked):
    rows = await api.rows("/v1/stats", {"group_by": column, "limit": 1000} | asked)
    return {row[column]: row["value"] for row in rows}


async def test_no_page_of_payment_or_sign_in_is_a_touch(api):
    hosts = [*PASSTHROUGH["hosts"], *PASSTHROUGH["domains"]]
    hosts += [f"login.{domain}" for domain in PASSTHROUGH["domains"]]
    events = [
        {"event": "view", "url": f"{PAGE}/thanks", "referrer": f"https://{host}/"} for host in hosts
    ]
    await send(api, [*events, {"event": "view", "url": PAGE, "referrer": "https://a.example.org/"}])

    own = await count_by(api, "source")
    by_touch = await count_by(api, "source", attribution="last_touch")

    assert own["stripe.com"] == 2
    assert "direct" not in own
    assert by_touch == {"direct": len(hosts), "example.org": 1}


SESSIONS = [
    {"session_id": "s", "url": f"{PAGE}/a"},
    {"session_id": "s", "url": f"{PAGE}/b?utm_source=facebook&utm_medium=cpc"},
    {"session_id": "s", "url": f"{PAGE}/c?utm_source=news&utm_medium=email"},
    {"session_id": "s"},
    {"session_id": "t", "url": f"{PAGE}/d"},
]


async def test_a_session_as_sent_counts_for_its_first_touch_and_landing_page(api):
    await send(
        api,
        [
            {"event": "view", "timestamp": f"2026-05-10T12:{20 * minute:02}:00Z", **event}
            for minute, event in enumerate(SESSIONS[:3])
        ]
        + [
            {"event": "view", "timestamp": f"2026-05-10T13:{minute:02}:00Z", **event}
            for minute, event in enumerate(SESSIONS[3:])
        ],
    )
    late = {"from": "2026-05-10T13:00:00Z"}

    assert await count_by(api, "source", attribution="session") == {"facebook": 4, "direct": 1}
    assert await count_by(api, "source", attribution="session", **late) == {
        "facebook": 1,
        "direct": 1,
    }
    assert await count_by(api, "landing_path") == {"/a": 4, "/d": 1}
    assert await count_by(api, "landing_path", **late) == {"/a": 1, "/d": 1}


async def test_a_funnel_is_grouped_by_the_landing_page_of_its_first_step_s_session(api):
    pages = {"anna": ["/a", "/b"], "boris": ["/c", "/d", "/b"]}
    await send(
        api,
        [
            {
                "event": "$pageview",
                "anonymous_id": visitor,
                "url": f"{PAGE}{path}",
                "timestamp": f"2026-05-10T12:0{minute}:00Z",
            }
            for visitor, paths in pages.items()
            for minute, path in enumerate(paths)
        ]
        + [{"event": "signup", "anonymous_id": "anna", "timestamp": "2026-05-10T12:09:00Z"}],
    )
    steps = '[{"event":"$pageview","path":"/b"},{"event":"signup"}]'

    rows = await api.rows("/v1/funnel", {"steps": steps, "group_by": "landing_path"})

    assert [(row["group"], row["people"]) for row in rows] == [
        ("/a", 1),
        ("/a", 1),
        ("/c", 1),
        ("/c", 0),
    ]


@pytest.mark.parametrize("model", ["event", "session", "first_touch", "last_touch"])
async def test_a_funnel_has_ten_steps_by_any_model(api, model):
    reached = {"anna": 10, "boris": 9, "clara": 1}
    names = [f"step_{number}" for number in range(1, 11)]
    await send(
        api,
        [
            {
                "event": name,
                "anonymous_id": visitor,
                "timestamp": f"2026-05-10T12:{minute:02}:00Z",
            }
            for visitor, count in reached.items()
            for minute, name in enumerate(names[:count])
        ],
    )
    steps = json.dumps([{"event": name} for name in names])

    rows = await api.rows(
        "/v1/funnel", {"steps": steps, "group_by": "source", "attribution": model}
    )

    assert [row["people"] for row in rows] == [3, *[2] * 8, 1]
    assert [row["median_s"] for row in rows] == [None, *[60] * 9]


AD = f"{PAGE}/?utm_source=facebook&utm_medium=cpc"


async def test_identify_ties_the_events_before_it_and_after_it(api):
    view = {"event": "view", "anonymous_id": "v", "url": AD, "timestamp": "2026-05-10T10:00:00Z"}
    early = {"event": "purchase", "user_id": "ann", "timestamp": "2026-05-12T10:00:00Z"}
    await send(api, [view, early])
    purchases = {"event": "purchase", "attribution": "last_touch"}
    assert await count_by(api, "source", **purchases) == {"direct": 1}

    answer = await api.post("/v1/identify", {"anonymous_id": "v", "user_id": "ann"})
    await send(api, [{"event": "purchase", "user_id": "ann"}])

    assert answer.status_code == 200
    assert await count_by(api, "source", **purchases) == {"facebook": 2}
    assert await count_by(api, "channel", **purchases) == {"paid_social": 2}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"source": "facebook"}, {"purchase": 1}),
        ({"channel": "paid_social"}, {"purchase": 1}),
        ({"source[not]": "facebook"}, {"purchase": 1, "view": 1}),
        ({"source": "direct"}, {"purchase": 1}),
        ({"source_rule_id": "no_touch"}, {"purchase": 1}),
    ],
)
async def test_a_filter_of_the_source_is_about_the_touch(api, asked, expected):
    await send(
        api,
        [
            {"event": "ad", "anonymous_id": "v", "url": AD, "timestamp": "2026-05-10T10:00:00Z"},
            {"event": "purchase", "anonymous_id": "v", "timestamp": "2026-05-11T10:00:00Z"},
            {"event": "purchase", "anonymous_id": "w", "timestamp": "2026-05-11T10:00:00Z"},
            {"event": "view", "anonymous_id": "x", "referrer": "https://a.example.org/"},
        ],
    )
    without_ad = {"event[not]": "ad", "attribution": "last_touch"}

    assert await count_by(api, "event_name", **without_ad, **asked) == expected
