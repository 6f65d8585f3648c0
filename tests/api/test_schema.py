"""What ``/v1/schema`` says about names of events and their properties, and where it stops."""


async def send(api, events):
    assert (await api.post("/v1/batch", {"events": events})).status_code == 202


async def test_a_property_is_described_by_its_types_its_share_and_its_frequent_values(api):
    plans = ["pro", "pro", "free", 7]
    await send(
        api,
        [
            *({"event": "signup", "properties": {"plan": plan}} for plan in plans),
            {"event": "signup", "properties": {"is_new": True}},
        ],
    )

    [row] = await api.rows("/v1/schema")

    assert (row["event_name"], row["events"]) == ("signup", 5)
    assert row["properties"] == [
        {
            "key": "plan",
            "types": ["number", "string"],
            "share": 0.8,
            "top_values": ["pro", "7", "free"],
        },
        {"key": "is_new", "types": ["boolean"], "share": 0.2, "top_values": ["true"]},
    ]
    assert "properties_left_out" not in row


async def test_properties_beyond_the_50_most_frequent_are_counted(api):
    many = {f"key_{number:02}": number for number in range(60)}
    await send(api, [{"event": "a", "properties": many}, {"event": "a", "properties": {"z": 1}}])

    [row] = await api.rows("/v1/schema")

    assert [one["key"] for one in row["properties"]] == sorted(many)[:50]
    assert row["properties_left_out"] == 11


async def test_ten_values_of_a_property_are_shown_the_most_frequent_first(api):
    events = [{"event": "a", "properties": {"n": number // 2}} for number in range(40)]
    await send(api, [*events, {"event": "a", "properties": {"n": 19}}])

    [row] = await api.rows("/v1/schema")

    values = row["properties"][0]["top_values"]
    assert (len(values), values[0]) == (10, "19")


async def test_an_answer_with_more_names_than_it_lists_says_so(api):
    await send(api, [{"event": f"name_{number:03}"} for number in range(200)])
    whole = (await api.get("/v1/schema")).json()
    await send(api, [{"event": "one_more"}])

    cut = (await api.get("/v1/schema")).json()

    assert (len(whole["rows"]), "truncated" in whole) == (200, False)
    assert (len(cut["rows"]), cut["truncated"]) == (200, True)
