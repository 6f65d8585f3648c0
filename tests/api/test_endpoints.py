"""What each endpoint answers, on the real engine."""

from datetime import UTC, datetime

PAGE = "https://yoursite.com/?utm_source=facebook&utm_medium=cpc&fbclid=abc"


async def test_a_tracked_event_is_queryable_as_soon_as_it_is_acknowledged(api):
    sent = {"event": "signup", "event_id": "evt_1", "anonymous_id": "u_abc", "url": PAGE}

    answer = await api.post("/v1/track", sent)

    assert (answer.status_code, answer.json()) == (202, {"ok": True, "event_id": "evt_1"})
    [row] = await api.rows("/v1/query")
    assert (row["event_id"], row["event_name"], row["url"]) == ("evt_1", "signup", PAGE)


async def test_every_column_of_an_event_row_is_what_was_sent_or_derived(api):
    await api.http.post(
        "/v1/track",
        json={
            "event": "purchase",
            "event_id": "evt_2",
            "timestamp": "2026-05-16T21:00:00.123+02:00",
            "anonymous_id": "u_abc",
            "user_id": "user_42",
            "url": "https://yoursite.com/cart?utm_source=facebook&utm_medium=cpc"
            "&utm_campaign=Spring&fbclid=abc",
            "referrer": "https://l.facebook.com/",
            "properties": {"plan": "frée", "big": 123456789012345678901234567890},
            "country": "XX",
        },
        headers={
            "Authorization": f"Bearer {api.keys['sk']}",
            "User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) "
            "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
        },
    )

    [row] = await api.rows("/v1/query")

    assert row == {
        "timestamp": "2026-05-16T19:00:00.123Z",
        "event_name": "purchase",
        "event_id": "evt_2",
        "anonymous_id": "u_abc",
        "user_id": "user_42",
        "session_id": "u_abc-988310",
        "source": "facebook",
        "medium": "paid",
        "campaign": "Spring",
        "source_confidence": "high",
        "source_rule_id": "fb_ad_redirect",
        "referrer": "https://l.facebook.com/",
        "url": "https://yoursite.com/cart?utm_source=facebook&utm_medium=cpc"
        "&utm_campaign=Spring&fbclid=abc",
        "path": "/cart",
        "country": "GB",
        "device_type": "mobile",
        "browser": "safari",
        "os": "ios",
        "properties": '{"plan":"frée","big":123456789012345678901234567890}',
    }


async def test_an_event_with_only_a_name_has_nulls_and_a_generated_visitor(api):
    await api.post("/v1/track", {"event": "ping"})

    [row] = await api.rows("/v1/query")

    absent = ["event_id", "user_id", "campaign", "referrer", "url", "path"]
    assert [row[name] for name in absent] == [None] * len(absent)
    assert row["timestamp"] == "2026-05-16T19:30:00.000Z"
    assert len(row["anonymous_id"]) == 36
    assert row["session_id"] == f"{row['anonymous_id']}-988311"
    assert (row["source"], row["medium"], row["properties"]) == ("direct", "direct", "{}")


async def test_a_batch_is_stored_whole(api):
    events = [{"event": f"e{index}", "anonymous_id": f"u{index}"} for index in range(1000)]

    answer = await api.post("/v1/batch", {"events": events})

    assert (answer.status_code, answer.json()) == (202, {"ok": True, "count": 1000})
    assert await api.rows("/v1/stats") == [{"value": 1000}]


async def test_a_batch_with_one_bad_event_stores_nothing_and_names_its_index(api):
    events = [{"event": "good"}, {"event": "bad", "url": "not a url"}]

    answer = await api.post("/v1/batch", {"events": events})

    assert answer.status_code == 400
    assert list(answer.json()["details"]["fieldErrors"]) == ["events[1].url"]
    assert await api.rows("/v1/stats") == [{"value": 0}]


async def test_a_batch_may_span_two_hundred_months(api):
    events = [
        {"event": "old", "timestamp": f"{2000 + month // 12}-{month % 12 + 1:02d}-01T00:00:00Z"}
        for month in range(200)
    ]

    answer = await api.post("/v1/batch", {"events": events})

    assert answer.status_code == 202
    window = {"from": "1990-01-01T00:00:00Z", "interval": "month", "limit": 1000}
    assert len(await api.rows("/v1/stats", window)) == 200


async def test_identify_stores_an_identify_event_with_the_traits(api):
    body = {"anonymous_id": "u_abc", "user_id": "user_42", "traits": {"plan": "pro"}}

    answer = await api.post("/v1/identify", body)

    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    [row] = await api.rows("/v1/query", {"event": "$identify"})
    assert (row["user_id"], row["properties"]) == ("user_42", '{"plan":"pro"}')


async def test_sources_split_facebook_into_paid_and_social(api):
    paid = [{"event": "$pageview", "anonymous_id": f"p{n}", "url": PAGE} for n in range(6)]
    social = [
        {"event": "$pageview", "anonymous_id": f"s{n}", "referrer": "https://www.facebook.com/"}
        for n in range(3)
    ]
    await api.post("/v1/batch", {"events": paid + social})

    assert await api.rows("/v1/sources") == [
        {"source": "facebook", "medium": "paid", "events": 6, "uniques": 6, "paid_share": 1.0},
        {"source": "facebook", "medium": "social", "events": 3, "uniques": 3, "paid_share": 0.0},
    ]
    assert await api.rows("/v1/sources", {"breakdown": "source"}) == [
        {"source": "facebook", "events": 9, "uniques": 9, "paid_share": 6 / 9}
    ]


async def test_a_visitor_of_two_days_and_mediums_is_counted_once(api):
    times = ["2026-05-03T23:00:00Z", "2026-05-04T12:00:00Z", "2026-05-05T01:00:00Z"]
    for time in times:
        for event in ({"url": PAGE}, {"referrer": "https://www.facebook.com/"}):
            sent = {"event": "x", "anonymous_id": "one", "timestamp": time, **event}
            await api.post("/v1/track", sent)

    window = {"from": "2026-05-03T22:00:00Z", "to": "2026-05-05T02:00:00Z"}
    [row] = await api.rows("/v1/sources", {"breakdown": "source", **window})
    assert (row["events"], row["uniques"]) == (6, 1)
    assert await api.rows("/v1/stats", {"metric": "uniques", **window}) == [{"value": 1}]


async def test_stats_rows_come_by_bucket_then_value_then_columns(api):
    for day, source, count in [(2, "b", 1), (1, "a", 1), (1, "c", 2), (1, "b", 1)]:
        for _ in range(count):
            await api.post(
                "/v1/track",
                {
                    "event": "x",
                    "timestamp": f"2026-05-0{day}T10:00:00Z",
                    "url": f"https://shop.example/?utm_source={source}",
                },
            )

    rows = await api.rows("/v1/stats", {"group_by": "source", "interval": "day"})

    assert [(row["bucket"][:10], row["source"], row["value"]) for row in rows] == [
        ("2026-05-01", "c", 2),
        ("2026-05-01", "a", 1),
        ("2026-05-01", "b", 1),
        ("2026-05-02", "b", 1),
    ]
    assert list(rows[0]) == ["bucket", "source", "value"]


async def test_stats_are_marked_truncated_when_the_limit_left_rows_out(api):
    await api.post("/v1/batch", {"events": [{"event": f"e{n}"} for n in range(3)]})

    cut = (await api.get("/v1/stats", {"group_by": "event_name", "limit": 2})).json()
    whole = (await api.get("/v1/stats", {"group_by": "event_name", "limit": 3})).json()

    assert (len(cut["rows"]), cut["truncated"]) == (2, True)
    assert (len(whole["rows"]), "truncated" in whole) == (3, False)


async def test_weeks_start_on_monday(api):
    for day in ("2026-05-10", "2026-05-11"):  # a Sunday, a Monday
        await api.post("/v1/track", {"event": "x", "timestamp": f"{day}T12:00:00Z"})

    rows = await api.rows("/v1/stats", {"interval": "week"})

    assert [row["bucket"] for row in rows] == [
        "2026-05-04T00:00:00.000Z",
        "2026-05-11T00:00:00.000Z",
    ]


async def test_the_first_week_starts_in_the_year_before(api):
    await api.post("/v1/track", {"event": "x", "timestamp": "1970-01-04T12:00:00Z"})
    await api.post("/v1/track", {"event": "x", "timestamp": "1970-01-05T12:00:00Z"})

    rows = await api.rows("/v1/stats", {"interval": "week", "from": "1970-01-01T00:00:00Z"})

    assert [row["bucket"] for row in rows] == [
        "1969-12-29T00:00:00.000Z",
        "1970-01-05T00:00:00.000Z",
    ]


async def test_a_window_includes_its_start_and_not_its_end(api):
    for second in ("00", "01"):
        await api.post("/v1/track", {"event": "x", "timestamp": f"2026-05-02T00:00:{second}Z"})

    window = {"from": "2026-05-02T00:00:00Z", "to": "2026-05-02T00:00:01Z"}

    assert await api.rows("/v1/stats", window) == [{"value": 1}]
    assert len(await api.rows("/v1/query", window)) == 1
    empty = {"from": "2026-05-02T00:00:00Z", "to": "2026-05-02T00:00:00Z"}
    assert await api.rows("/v1/sources", empty) == []
    assert await api.rows("/v1/stats", empty) == [{"value": 0}]


async def test_the_same_event_id_twice_is_two_rows(api):
    for _ in range(2):
        await api.post("/v1/track", {"event": "x", "event_id": "same"})

    assert len(await api.rows("/v1/query")) == 2


async def test_the_origin_is_used_for_an_event_without_url(api):
    await api.http.post(
        "/v1/track",
        json={"event": "x", "referrer": "https://shop.example/a"},
        headers={"Authorization": f"Bearer {api.keys['pk']}", "Origin": "https://shop.example"},
    )

    [row] = await api.rows("/v1/query")

    assert (row["source"], row["source_rule_id"]) == ("internal", "ref_internal")


async def test_the_hash_of_an_address_changes_at_midnight_utc(quick_api):
    quick_api.clock.now = datetime(2026, 5, 16, 0, 0, tzinfo=UTC)
    for hours in (0, 23.99, 0.02, 23.9):
        quick_api.clock.advance(hours=hours)
        await quick_api.post("/v1/track", {"event": "x"})

    hashes = [event.ip_hash for event in quick_api.store.events]
    assert hashes[0] == hashes[1] != hashes[2] == hashes[3]
    assert bytes(16) not in hashes
