"""Exports of other products, in files that follow their published schemas.

Umami: db/clickhouse/schema.sql, and its export of three CSV files in a zip file. PostHog: the
documentation of batch exports to S3, model "events". Google Analytics: "BigQuery Export schema".
Matomo: what plugins/*/VisitorDetails.php put into Live.getLastVisitsDetails, core/Date.php for its
times, and core/Tracker/PageUrl.php for its URLs. Plausible: "Export your website stats".
"""

import json
import zipfile
from zoneinfo import ZoneInfo

import pytest

from millimetric_mcp.errors import ImportFailed

# The columns of website_event in Umami's db/clickhouse/schema.sql.
UMAMI = (
    "website_id,session_id,visit_id,event_id,hostname,browser,os,device,screen,language,country,"
    "region,city,url_path,url_query,utm_source,utm_medium,utm_campaign,utm_content,utm_term,"
    "referrer_path,referrer_query,referrer_domain,page_title,gclid,fbclid,event_type,event_name,"
    "tag,distinct_id,created_at,job_id\n"
)
UMAMI_DATA = (
    "website_id,session_id,event_id,url_path,event_name,data_key,string_value,number_value,"
    "date_value,data_type,created_at,job_id\n"
)


def test_umamis_page_views_and_events_are_read(read):
    text = (
        UMAMI
        + "w,s1,v1,e1,shop.example,edge-chromium,Windows 10,laptop,1920x1080,de-DE,DE,,,/a,"
        + "utm_source=x,x,,,,,/,,www.google.com,Home,,,1,,,,2026-05-16 19:00:00,\n"
        + "w,s1,v1,e2,shop.example,ios,iOS,mobile,,,,,,/b,,,,,,,,,,,,,2,signup,,u1,"
        + "2026-05-16 19:01:00,\n"
        + "w,s1,v1,e3,shop.example,ios,iOS,mobile,,,,,,/b,,,,,,,,,,,,,5,,,,2026-05-16 19:01:00,\n"
    )

    found = read(text, "website_event.csv")

    assert found.formats == ["umami"]
    assert found.events == [
        {
            "event": "$pageview",
            "event_id": "e1",
            "timestamp": "2026-05-16T19:00:00+00:00",
            "anonymous_id": "s1",
            "session_id": "v1",
            "url": "https://shop.example/a?utm_source=x",
            "referrer": "https://www.google.com/",
            "country": "DE",
            "properties": {"page_title": "Home", "language": "de-DE", "screen": "1920x1080"},
            "device_type": "desktop",
            "browser": "edge",
            "os": "windows",
        },
        {
            "event": "signup",
            "event_id": "e2",
            "timestamp": "2026-05-16T19:01:00+00:00",
            "anonymous_id": "s1",
            "user_id": "u1",
            "session_id": "v1",
            "url": "https://shop.example/b",
            "device_type": "mobile",
            "browser": "safari",
            "os": "ios",
        },
    ]
    assert found.left_out == {"records that are no events": 1}


def umami_signup(event_id):
    return (
        f"w,s1,v1,{event_id},shop.example,ios,iOS,mobile,,,,,,/b,,,,,,,,,,,,,2,signup,,,"
        "2026-05-16 19:01:00,\n"
    )


def umami_data(event_id, key, *, text="", number="", date="", kind):
    at = "2026-05-16 19:01:00"
    return f"w,s1,{event_id},/b,signup,{key},{text},{number},{date},{kind},{at},\n"


@pytest.fixture(params=["zip file", "directory"])
def umami(request, tmp_path):
    """Umami's export: two sign-ups, the properties of the first one, and a session's."""
    files = {
        "website_event.csv": UMAMI + umami_signup("e1") + umami_signup("e2"),
        "event_data.csv": UMAMI_DATA
        + umami_data("e1", "plan", text="pro", kind=1)
        + umami_data("e1", "seats", text="5.0000", number="5.0000", kind=2)
        + umami_data("e1", "price", text="9.5000", number="9.5000", kind=2)
        + umami_data("e1", "trial", text="false", kind=3)
        + umami_data("e1", "until", date="2026-06-01 00:00:00", kind=4)
        + "w,s1,e1\n",
        "session_data.csv": "website_id,session_id,data_key,string_value,created_at\n"
        "w,s1,plan,pro,2026-05-16 19:01:00\n",
    }
    if request.param == "directory":
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        return [tmp_path / name for name in files]
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(f"export/{name}", text)
    return [tmp_path / "export.zip"]


def test_umamis_events_have_the_properties_of_the_table_beside_them(read_file, umami):
    found = [read_file(path) for path in umami]

    events = [event for file in found for event in file.events]
    assert [event.get("properties") for event in events] == [
        {"plan": "pro", "seats": 5, "price": 9.5, "trial": False, "until": "2026-06-01 00:00:00"},
        None,
    ]
    assert [left for file in found for left in file.left_out.items()] == [
        ("values of Umami's sessions", 1)
    ]
    assert [wrong for file in found for wrong in file.rejected] == [(6, "is not a complete row")]


def test_umamis_properties_without_their_events_are_left_out(read):
    found = read(UMAMI_DATA + umami_data("e1", "plan", text="pro", kind=1), "event_data.csv")

    assert found.events == []
    assert found.left_out == {"values of Umami's events without website_event": 1}


def posthog(event, **properties):
    """An event of PostHog's batch export, by the fields of its documented model "events"."""
    return {
        "uuid": "0196-1",
        "event": event,
        "distinct_id": "user_42",
        "person_id": "p",
        "properties": {"$device_id": "dev1", **properties},
        "person_properties": {},
        "elements_chain": "",
        "timestamp": "2026-05-16T19:00:00.123000+00:00",
        "created_at": "2026-05-16T19:00:01+00:00",
    }


@pytest.mark.parametrize("as_text", [False, True])
def test_posthogs_events_are_read(read, as_text):
    sent = {
        "$current_url": "https://shop.example/?gclid=1",
        "$referrer": "$direct",
        "$session_id": "s1",
        "$ip": "203.0.113.7",
        "$raw_user_agent": "Mozilla/5.0",
        "$geoip_country_code": "GB",
        "$device_type": "Desktop",
        "$browser": "Chrome",
        "$os": "Mac OS X",
        "plan": "free",
    }
    rows = [posthog("$pageview", **sent), posthog("$autocapture"), posthog("signup")]
    if as_text:
        for row in rows:
            row["properties"] = json.dumps(row["properties"])

    found = read("\n".join(map(json.dumps, rows)))

    assert found.formats == ["posthog"]
    assert found.events[0] == {
        "event": "$pageview",
        "event_id": "0196-1",
        "timestamp": "2026-05-16T19:00:00.123000+00:00",
        "anonymous_id": "dev1",
        "user_id": "user_42",
        "session_id": "s1",
        "url": "https://shop.example/?gclid=1",
        "ip": "203.0.113.7",
        "user_agent": "Mozilla/5.0",
        "country": "GB",
        "properties": {"plan": "free"},
        "device_type": "desktop",
        "browser": "chrome",
        "os": "macos",
    }
    assert [event["event"] for event in found.events] == ["$pageview", "signup"]
    assert found.left_out == {"internal events of PostHog": 1}


@pytest.mark.parametrize(
    ("sent", "user_id"),
    [
        ({"$is_identified": True}, "user_42"),
        # After a reset the device keeps its id, and distinct_id is a new one.
        ({"$is_identified": False}, None),
        ({"$is_identified": False, "$user_id": "user_7"}, "user_7"),
    ],
)
def test_a_browser_of_posthog_says_whether_its_person_is_known(read, sent, user_id):
    [event] = read(json.dumps(posthog("signup", **sent))).events

    assert event.get("user_id") == user_id


def test_a_screen_of_posthog_keeps_its_name(read):
    sent = {"$screen_name": "Cart", "$screen_height": 800}

    [event] = read(json.dumps(posthog("$screen", **sent))).events

    assert (event["event"], event["properties"]) == ("$screen", {"screen_name": "Cart"})


@pytest.mark.parametrize(
    ("distinct_id", "user_id"),
    [("user_42", "user_42"), ("0196ab12-0000-7000-8000-0123456789ab", None)],
)
def test_a_servers_event_of_posthog_is_its_persons(read, distinct_id, user_id):
    row = posthog("purchase") | {"distinct_id": distinct_id, "properties": {}}

    [event] = read(json.dumps(row)).events

    assert (event["anonymous_id"], event.get("user_id")) == (distinct_id, user_id)


def ga4(name, *, url="https://shop.example/?x=1", **fields):
    """An event of Google's "BigQuery Export schema"; its JSON writes whole numbers as texts."""
    return {
        "event_date": "20260516",
        "event_timestamp": "1779000000250000",
        "event_name": name,
        "event_params": [
            {"key": "page_location", "value": {"string_value": url}},
            {"key": "page_referrer", "value": {"string_value": "https://www.google.com/"}},
            {"key": "ga_session_id", "value": {"int_value": "17"}},
            {"key": "entrances", "value": {"int_value": "1"}},
            {"key": "value", "value": {"double_value": 9.5}},
        ],
        "user_id": None,
        "user_pseudo_id": "12.34",
        "device": {
            "category": "mobile",
            "operating_system": "Android",
            "web_info": {"browser": "Chrome"},
        },
        "geo": {"country": "Germany"},
        "collected_traffic_source": {"manual_source": None, "gclid": None, "dclid": None},
        "ecommerce": {"transaction_id": "t1", "purchase_revenue": 9.5},
    } | fields


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://shop.example/a", "https://shop.example/a?gclid=g1"),
        ("https://shop.example/a?x=1#top", "https://shop.example/a?x=1&gclid=g1#top"),
        ("https://shop.example/a?gclid=g0", "https://shop.example/a?gclid=g0"),
    ],
)
def test_the_click_id_that_ga4_keeps_apart_is_in_the_url(read, url, expected):
    collected = {"manual_source": "google", "gclid": "g1", "dclid": None}

    found = read(json.dumps(ga4("page_view", url=url, collected_traffic_source=collected)))

    assert [event["url"] for event in found.events] == [expected]


def test_ga4s_events_without_a_visitor_are_left_out(read):
    found = read(json.dumps(ga4("page_view", user_pseudo_id=None)))

    assert found.events == []
    assert found.left_out == {"events without a visitor, sent without consent": 1}


def test_ga4s_events_from_bigquery_are_read(read):
    found = read("\n".join(json.dumps(ga4(name)) for name in ("page_view", "session_start")))

    assert found.formats == ["ga4"]
    assert found.events == [
        {
            "event": "$pageview",
            "timestamp": "2026-05-17T06:40:00.250+00:00",
            "anonymous_id": "12.34",
            "session_id": "12.34-17",
            "url": "https://shop.example/?x=1",
            "referrer": "https://www.google.com/",
            "properties": {
                "value": 9.5,
                "transaction_id": "t1",
                "purchase_revenue": 9.5,
                "country_name": "Germany",
            },
            "device_type": "mobile",
            "browser": "chrome",
            "os": "android",
        }
    ]
    assert found.left_out == {"automatic events of Google Analytics": 1}


# Fields of Live.getLastVisitsDetails in Matomo's reporting API, for a website in UTC.
VISIT = {
    "idSite": "1",
    "idVisit": "7",
    "visitIp": "203.0.0.0",
    "visitorId": "ab12",
    "userId": None,
    "firstActionTimestamp": 1779000000,
    "actionDetails": [
        {
            "type": "action",
            "url": "https://shop.example/",
            "pageTitle": "Home",
            "timestamp": 1779000000,
        },
        {
            "type": "event",
            "url": "https://shop.example/",
            "eventCategory": "form",
            "eventAction": "signup",
            "eventValue": 3,
            "timestamp": 1779000060,
        },
        {"type": "content", "timestamp": 1779000060},
    ],
    "referrerType": "search",
    "referrerUrl": "https://www.google.com/",
    "deviceType": "Smartphone",
    "browserName": "Mobile Safari",
    "operatingSystemName": "iOS",
    "countryCode": "de",
}


@pytest.mark.parametrize("indent", [None, 2])
def test_matomos_visits_are_read_action_by_action(read, indent):
    found = read(json.dumps([VISIT] * 300, indent=indent))

    assert found.formats == ["matomo"]
    assert len(found.events) == 600
    assert found.events[:2] == [
        {
            "event": "$pageview",
            "timestamp": "2026-05-17T06:40:00.000+00:00",
            "anonymous_id": "ab12",
            "session_id": "matomo-7",
            "url": "https://shop.example/",
            "referrer": "https://www.google.com/",
            "country": "DE",
            "properties": {"pageTitle": "Home"},
            "device_type": "mobile",
            "browser": "safari",
            "os": "ios",
        },
        {
            "event": "signup",
            "timestamp": "2026-05-17T06:41:00.000+00:00",
            "anonymous_id": "ab12",
            "session_id": "matomo-7",
            "url": "https://shop.example/",
            "country": "DE",
            "properties": {"eventCategory": "form", "eventValue": 3},
            "device_type": "mobile",
            "browser": "safari",
            "os": "ios",
        },
    ]
    assert found.left_out == {"actions of other types": 300}


@pytest.mark.parametrize("offset_s", [2 * 3600, -12600, 5 * 3600 + 45 * 60])
@pytest.mark.parametrize("first_is_late_s", [0, 7])
def test_matomos_times_are_those_of_the_visit_in_any_zone(read, offset_s, first_is_late_s):
    actions = [
        {**action, "timestamp": action["timestamp"] + offset_s + first_is_late_s}
        for action in VISIT["actionDetails"]
    ]

    found = read(json.dumps([VISIT | {"actionDetails": actions}]))

    assert [event["timestamp"] for event in found.events] == [
        f"2026-05-17T06:40:0{first_is_late_s}.000+00:00",
        f"2026-05-17T06:41:0{first_is_late_s}.000+00:00",
    ]


def make_matomo_visit(title):
    """Returns a visit of one action as JSON; ``title`` is JSON."""
    return (
        '{"idVisit": 1, "visitorId": "v", "firstActionTimestamp": 1747422000, "actionDetails": '
        '[{"type": "action", "url": "https://s.example/", "timestamp": 1747422000, '
        f'"pageTitle": {title}}}]}}'
    )


@pytest.mark.parametrize("cut", [r"\ud83d", r"\uD83D"])
def test_a_title_of_matomo_that_is_cut_in_an_emoji_is_read(read, cut):
    titles = [f'"cut {cut}"', r'"whole \ud83d\ude00"']

    found = read(f"[{','.join(map(make_matomo_visit, titles))}]", "visits.json")

    titles = [event["properties"]["pageTitle"] for event in found.events]
    assert titles == ["cut \ufffd", "whole \U0001f600"]


def test_a_number_of_matomo_with_thousands_of_digits_is_rejected_alone(read):
    visits = [make_matomo_visit(title) for title in ("9" * 5000, '"title"')]

    found = read(f"[{','.join(visits)}]", "visits.json")

    assert len(found.events) == 1
    assert found.rejected == [
        (1, "properties: must hold finite numbers only, of at most 4300 digits")
    ]


def test_a_file_of_matomo_that_nests_too_deep_is_named(read):
    deep = "[" * 5000 + "]" * 5000

    with pytest.raises(ImportFailed, match=r"visits\.json nests too many .* Remove record 2\."):
        read(f"[{make_matomo_visit(1)},{make_matomo_visit(deep)}]", "visits.json")


def test_matomos_times_without_that_of_the_visit_are_in_the_zone_of_the_options(read):
    visit = {name: value for name, value in VISIT.items() if name != "firstActionTimestamp"}

    found = read(json.dumps([visit]), zone=ZoneInfo("Europe/Berlin"))

    assert found.events[0]["timestamp"] == "2026-05-17T06:40:00+02:00"


@pytest.mark.parametrize(
    ("campaign", "query"),
    [
        (
            {"referrerType": "campaign", "referrerName": "May Sale", "referrerKeyword": "shoe"},
            "?utm_source=May+Sale&utm_campaign=May+Sale&utm_term=shoe",
        ),
        (
            {
                "referrerType": "campaign",
                "referrerName": "may",
                "referrerKeyword": "",
                "campaignName": "may",
                "campaignSource": "news",
                "campaignMedium": "email",
                "campaignKeyword": "",
                "campaignContent": "top",
            },
            "?utm_source=news&utm_medium=email&utm_campaign=may&utm_content=top",
        ),
        ({"referrerType": "search", "referrerName": "Google", "referrerKeyword": "shoe"}, ""),
    ],
)
def test_the_campaign_of_a_visit_of_matomo_is_in_its_first_url(read, campaign, query):
    found = read(json.dumps([VISIT | campaign]))

    assert [event["url"] for event in found.events] == [
        f"https://shop.example/{query}",
        "https://shop.example/",
    ]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ({"type": "outlink", "url": "https://b.example/x"}, {"outlink": "https://b.example/x"}),
        (
            {
                "type": "search",
                "url": "https://shop.example/s",
                "siteSearchKeyword": "shoe",
                "siteSearchCategory": "men",
                "siteSearchCount": "12",
            },
            {"siteSearchKeyword": "shoe", "siteSearchCategory": "men", "siteSearchCount": 12},
        ),
        (
            {"type": "ecommerceOrder", "orderId": "A-7", "revenue": 19.5, "items": 2},
            {"orderId": "A-7", "revenue": 19.5, "items": 2},
        ),
        (
            {"type": "action", "url": "https://shop.example/", "dimension3": "x"},
            {"dimension3": "x"},
        ),
    ],
    ids=["outlink", "search", "order", "custom dimension"],
)
def test_what_an_action_of_matomo_is_about_is_in_its_properties(read, action, expected):
    found = read(json.dumps([VISIT | {"actionDetails": [{**action, "timestamp": 1779000000}]}]))

    assert [event["properties"] for event in found.events] == [expected]
    assert [event.get("url") for event in found.events] == [
        action.get("url") if action["type"] != "outlink" else None
    ]


def test_a_list_of_visits_that_was_cut_rejects_the_last_one(read):
    found = read(json.dumps([VISIT] * 3)[:-40])

    assert len(found.events) == 4
    assert found.rejected == [(3, "is not a visit with actionDetails")]


@pytest.fixture
def plausible(tmp_path):
    """Two tables of Plausible's "Export your website stats"."""
    path = tmp_path / "plausible-export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "imported_visitors_20260501_20260502.csv",
            '"date","visitors","pageviews","bounces","visits","visit_duration"\n'
            '"2026-05-01",10,25,4,12,90\n',
        )
        archive.writestr(
            "imported_sources_20260501_20260502.csv",
            '"date","source","referrer","utm_source","utm_medium","utm_campaign","utm_content",'
            '"utm_term","pageviews","visitors","visits","visit_duration","bounces"\n'
            '"2026-05-01","Google","google.com","","","","","",12,6,7,120,2\n',
        )
        archive.writestr("README.txt", "not a table")
    return path


def test_plausibles_totals_are_refused_unless_they_are_asked_for(read_file, plausible):
    with pytest.raises(ImportFailed, match=r"totals by day, not events.*--totals"):
        read_file(plausible)


def test_plausibles_totals_are_stored_marked_as_such(read_file, plausible):
    found = read_file(plausible, keeps_totals=True)

    assert found.formats == ["plausible", "plausible"]
    assert {event["event"] for event in found.events} == {"$total"}
    assert found.events[1] == {
        "event": "$total",
        "timestamp": "2026-05-01T00:00:00+00:00",
        "anonymous_id": "plausible",
        "properties": {
            "aggregated": True,
            "from": "plausible",
            "table": "visitors",
            "date": "2026-05-01",
            "visitors": 10,
            "pageviews": 25,
            "bounces": 4,
            "visits": 12,
            "visit_duration": 90,
        },
    }


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        (
            "# ----------------\n# Traffic acquisition\nSession source,Sessions\n",
            "Google Analytics",
        ),
        ("label,nb_visits,nb_actions\n/a,3,4\n", "Matomo"),
        ('[{"label":"/a","nb_visits":3}]', "Matomo"),
    ],
)
def test_reports_with_totals_are_refused_by_whose_they_are(read, text, owner):
    with pytest.raises(ImportFailed, match=f"is a report of {owner} with totals"):
        read(text)


def test_a_record_of_another_form_is_rejected_and_the_others_are_read(read):
    wrong = posthog("signup") | {"properties": "not json"}

    found = read("\n".join(map(json.dumps, [posthog("a"), wrong, posthog("b")])))

    assert [event["event"] for event in found.events] == ["a", "b"]
    assert [place for place, _ in found.rejected] == [2]
