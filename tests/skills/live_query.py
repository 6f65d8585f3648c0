"""Every recipe of the query skill, run as it stands on known events, its numbers compared."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

CHANNELS = (
    ("https://shop.example{path}?utm_source=facebook&utm_medium=cpc&utm_campaign=Spring", None,
     "facebook", "paid", "Spring", "utm_paid_facebook", "high"),
    ("https://shop.example{path}", "https://www.facebook.com/",
     "facebook", "social", None, "ref_facebook", "medium"),
    ("https://shop.example{path}", "https://www.google.com/",
     "google", "organic", None, "ref_search", "medium"),
    ("https://shop.example{path}", None, "direct", "direct", None, "direct", "high"),
    ("https://shop.example{path}?utm_source=newsletter&utm_medium=email&utm_campaign=May", None,
     "newsletter", "email", "May", "utm_explicit", "high"),
)  # fmt: skip
NAMES = ("$pageview", "signup", "purchase", "$pageview")
PLACES = {"US": "8.8.8.8", "DE": "5.9.0.1", "": "192.168.1.1"}
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)
DEVICES = {("desktop", "chrome"): CHROME, ("mobile", "safari"): IPHONE}
STEP_S = 10_133
NEWEST_AGE_S = 61
BEFORE_USER_42_S = 20 * 86_400


@dataclass(frozen=True)
class Sent:
    """An event as it was sent, and what the server makes of it."""

    at: datetime
    body: dict[str, object] = field(repr=False)
    columns: dict[str, object] = field(repr=False)

    def __getitem__(self, column: str) -> object:
        return self.columns[column]


def write_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def make_event(number: int, *, now: datetime, age_s: float) -> Sent:
    """One of a month and a half of events, every nearly three hours, no two alike for long."""
    url, referrer, source, medium, campaign, rule, confidence = CHANNELS[number % len(CHANNELS)]
    name = NAMES[number % len(NAMES)]
    visitor = f"v{number * 7 % 23}" if number % 9 else "u_abc"
    path = ("/", "/pricing", "/docs")[number % 3]
    at = (now - timedelta(seconds=age_s)).replace(microsecond=0)
    body = {"event": name, "anonymous_id": visitor, "timestamp": write_time(at)}
    body["url"] = url.format(path=path)
    if referrer:
        body["referrer"] = referrer
    if visitor == "u_abc" and age_s < BEFORE_USER_42_S:
        body["user_id"] = "user_42"
    if name == "purchase":
        body["properties"] = {"amount_cents": 100 + number}
    device_type, browser = list(DEVICES)[number % len(DEVICES)]
    columns = {
        "event_name": name, "anonymous_id": visitor, "user_id": body.get("user_id"),
        "source": source, "medium": medium, "campaign": campaign, "path": path,
        "url": body["url"], "referrer": referrer, "source_rule_id": rule,
        "source_confidence": confidence, "country": list(PLACES)[number // 2 % len(PLACES)],
        "device_type": device_type, "browser": browser, "timestamp": body["timestamp"],
    }  # fmt: skip
    return Sent(at, body, columns)


def make_history(now: datetime) -> list[Sent]:
    """Newest first."""
    return [
        make_event(number, now=now, age_s=NEWEST_AGE_S + number * STEP_S) for number in range(420)
    ]


@pytest.fixture(scope="module")
def shop(api):
    """A project with a month and a half of events, and what was sent."""
    project = api.new_project("shop")
    sent = make_history(datetime.now(UTC))
    order = make_event(1, now=datetime.now(UTC), age_s=100)
    order.body.update(event="purchase", event_id="order-1001", properties={"amount_cents": 4900})
    order.columns.update(event_name="purchase", event_id="order-1001")
    sent.insert(1, order)
    for country, address in PLACES.items():
        for device, agent in DEVICES.items():
            same = [
                each.body
                for each in sent
                if each["country"] == country and (each["device_type"], each["browser"]) == device
            ]
            project.send(same, **{"X-Forwarded-For": address, "User-Agent": agent})
    assert project.count() == len(sent)
    return project, sent


# --- What the answers must be -------------------------------------------------------------------


def midnight(now: datetime, *, days_ago: int = 0) -> datetime:
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=days_ago)


def monday(now: datetime, *, weeks_ago: int = 0) -> datetime:
    return midnight(now, days_ago=now.weekday() + 7 * weeks_ago)


def month(now: datetime) -> datetime:
    return midnight(now).replace(day=1)


def since(sent: Iterable[Sent], start: datetime, **columns: object) -> list[Sent]:
    return [
        each
        for each in sent
        if each.at >= start and all(each[name] == value for name, value in columns.items())
    ]


def count_by(
    events: Sequence[Sent], *by: str, uniques: bool = False, bucket: Callable | None = None
) -> list[dict[str, object]]:
    """Rows of stats: buckets ascending, then values descending, then the columns."""
    groups: dict[tuple[object, ...], list[object]] = {}
    for event in events:
        start = write_time(bucket(event.at)) if bucket else ""
        groups.setdefault((start, *(event[name] for name in by)), []).append(event["anonymous_id"])
    rows = []
    for (start, *values), visitors in groups.items():
        value = len(set(visitors)) if uniques else len(visitors)
        rows.append((start, -value, values, value))
    rows.sort(key=lambda row: (row[0], row[1], [("" if v is None else v) for v in row[2]]))
    return [
        {
            **({"bucket": start} if start else {}),
            **dict(zip(by, values, strict=True)),
            "value": value,
        }
        for start, _, values, value in rows
    ]


def sources(events: Sequence[Sent], *by: str) -> list[dict[str, object]]:
    rows = []
    for row in count_by(events, *by):
        group = [each for each in events if all(each[name] == row[name] for name in by)]
        paid = sum(each["medium"] == "paid" for each in group)
        uniques = len({each["anonymous_id"] for each in group})
        shown = {name: row[name] for name in by}
        shown |= {"events": len(group), "uniques": uniques, "paid_share": paid / len(group)}
        rows.append(shown)
    return rows


def pick(event: Sent, *columns: str) -> dict[str, object]:
    return {name: event[name] for name in columns}


def top_sources(sent, now):
    return sources(since(sent, month(now)), "source", "medium")


def facebook_share(sent, now):
    return [
        row for row in sources(since(sent, month(now)), "source") if row["source"] == "facebook"
    ]


def sign_ups_by_country(sent, now):
    found = since(sent, midnight(now, days_ago=6), event_name="signup")
    days: dict[str, dict[str, object]] = {}
    for row in count_by(found, "country", uniques=True, bucket=midnight):
        day = row["bucket"][:10]
        days.setdefault(day, {"day": day})[row["country"] or "unknown"] = row["value"]
    return list(days.values())


def user_42_this_week(sent, now):
    found = since(sent, monday(now), user_id="user_42")
    return [pick(each, "timestamp", "event_name", "source", "medium", "path") for each in found]


def sign_ups_by_source(sent, now):
    found = since(sent, midnight(now, days_ago=29), event_name="signup")
    return count_by(found, "source", "medium", bucket=midnight)


def campaigns(sent, now):
    return count_by(since(sent, month(now), event_name="purchase"), "source", "campaign")


def week_against_week(sent, now):
    return count_by(since(sent, monday(now, weeks_ago=1)), uniques=True, bucket=monday)


def facebook_by_day(sent, now):
    found = since(sent, midnight(now, days_ago=6), source="facebook")
    days = []
    for day in sorted({midnight(each.at) for each in found}):
        media = Counter(each["medium"] for each in found if midnight(each.at) == day)
        total = media.total()
        share = {"events": total, "paid_share": media["paid"] / total}
        days.append({"day": f"{day:%Y-%m-%d}", "paid": media["paid"], **share})
    return days


def busiest_pages(sent, now):
    return count_by(since(sent, midnight(now), event_name="$pageview"), "path", uniques=True)


def devices(sent, now):
    return count_by(since(sent, midnight(now, days_ago=6)), "device_type", "browser", uniques=True)


def event_names(sent, now):
    return count_by(since(sent, midnight(now, days_ago=29)), "event_name")


def revenue(sent, now):
    rows = []
    for row in count_by(since(sent, month(now), event_name="purchase"), "source"):
        found = since(sent, month(now), event_name="purchase", source=row["source"])
        cents = sum(each.body["properties"]["amount_cents"] for each in found)
        rows.append({"source": row["source"], "purchases": len(found), "cents": cents})
    return sorted(rows, key=lambda row: -row["cents"])


def first_touch(sent, now):
    visits = since(sent, now - timedelta(days=90), anonymous_id="u_abc")
    columns = ("timestamp", "event_name", "source", "medium", "campaign", "url", "source_rule_id")
    return [pick(visits[-1], *columns)]


def why(sent, now):
    found = since(sent, midnight(now, days_ago=6), anonymous_id="u_abc")[:20]
    columns = ("timestamp", "source", "medium", "source_rule_id", "source_confidence")
    return [pick(each, *columns, "url", "referrer") for each in found]


FACEBOOK_SHARE = "query/SKILL: Quick start: what share of our Facebook traffic is paid this month?"
EVENT_NAMES = "query/recipes: Which events are there?"
REVENUE = "query/recipes: Revenue by source this month"
FIRST_TOUCH = "query/recipes: Where did user_42 first come from?"
ANSWERS = {
    FACEBOOK_SHARE: facebook_share,
    "query/SKILL: Daily unique sign-ups by country, last 7 days": sign_ups_by_country,
    "query/SKILL: What did user_42 do this week?": user_42_this_week,
    "query/recipes: Top sources this month": top_sources,
    "query/recipes: Sign-ups per day by source, last 30 days": sign_ups_by_source,
    "query/recipes: Campaigns that brought purchases this month": campaigns,
    "query/recipes: Visitors this week against last week": week_against_week,
    "query/recipes: Facebook, paid share by day, last 7 days": facebook_by_day,
    "query/recipes: Busiest pages today": busiest_pages,
    "query/recipes: Devices and browsers, last 7 days": devices,
    EVENT_NAMES: event_names,
    REVENUE: revenue,
    FIRST_TOUCH: first_touch,
    "query/recipes: Why was it attributed like that?": why,
}
ARRIVED = "query/recipes: Did my event arrive?"
SHOWN_UP_TO_THE_LIMIT = {
    "query/SKILL: What did user_42 do this week?",
    "query/recipes: Top sources this month",
    "query/recipes: Busiest pages today",
    "query/recipes: Why was it attributed like that?",
}
ASKED = [
    FACEBOOK_SHARE,
    "query/SKILL: Daily unique sign-ups by country, last 7 days",
    "query/SKILL: What did user_42 do this week?",
]


def test_every_recipe_of_the_query_skill_has_its_answer(sh_blocks):
    assert {name for name in sh_blocks if name.startswith("query/")} == {*ANSWERS, ARRIVED}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_recipe_gives_the_numbers_that_were_sent(name, shell, shop, sh_blocks, run_script):
    project, sent = shop
    before = datetime.now(UTC)
    ran = run_script(sh_blocks[name].text, shell=shell, environ=project.environ)
    answer = ran.lines
    # Where midnight came in between, either day's answer is right.
    assert answer in [ANSWERS[name](sent, now) for now in (before, datetime.now(UTC))]
    assert answer, "a question whose answer is empty proves nothing"


def test_the_quick_start_tells_paid_from_social_as_the_skill_says(
    shop, query, sh_blocks, run_script
):
    project, sent = shop
    breakdown, last, behind = re.search(
        r"with `(breakdown: [^`]+)`, and just\s+`([^`]+)` behind `([^`]+)`", query.main.text
    ).groups()
    recipe = sh_blocks[FACEBOOK_SHARE].text.replace('breakdown: "source"', breakdown)
    head, *_ = re.split(re.escape(behind).replace(r"\ ", r"\s+"), recipe)
    recipe = f"{head}{behind} {last}'"
    ran = run_script(recipe, shell="bash", environ=project.environ)
    assert ran.lines == top_sources(sent, datetime.now(UTC))


WINDOWS = {
    "today": midnight,
    "last 7 days, today included": lambda now: midnight(now, days_ago=6),
    "last 24 hours": lambda now: now.replace(microsecond=0) - timedelta(days=1),
    "this week": monday,
    "this month": month,
    "this year": lambda now: month(now).replace(month=1),
}


def test_every_window_begins_when_it_says(query, run_script):
    rows = query.document("recipes").table("Window")
    programs = {row["Window"]: row["`from`"].strip("`") for row in rows}
    programs.pop("a day of another zone")
    assert programs.keys() == WINDOWS.keys()
    script = "".join(f"jq -rn '{program}'\n" for program in programs.values())
    before = datetime.now(UTC)
    ran = run_script(script, shell="dash", environ={})
    assert ran.code == 0, ran.stderr
    found = [datetime.fromisoformat(line) for line in ran.stdout.splitlines()]
    for begins, start in zip(found, (WINDOWS[name] for name in programs), strict=True):
        assert start(before) <= begins <= start(datetime.now(UTC))


def test_an_event_is_found_by_its_id(shell, shop, sh_blocks, run_script):
    project, _ = shop
    ran = run_script(sh_blocks[ARRIVED].text, shell=shell, environ=project.environ)
    (found,) = ran.lines
    assert found["event_id"] == "order-1001"


@pytest.mark.parametrize("name", ASKED)
def test_what_people_ask_takes_one_request(name, shop, sh_blocks, run_script):
    project, _ = shop
    ran = run_script(sh_blocks[name].text, shell="bash", environ=project.environ)
    assert ran.code == 0
    assert len(ran.calls_of("curl")) == 1
    assert sh_blocks[name].text.count(";") == 0


def narrow(recipe, *, limit):
    """``recipe`` as if ``limit`` were the most rows that an answer holds, and for all time."""
    recipe = re.sub(r", limit: \d+", "", recipe)
    recipe = re.sub(
        r"from: .+, to: \(.+? \| todate\)",
        f'from: "2000-01-01T00:00:00Z", to: (now + 1 | todate), limit: {limit}',
        recipe,
    )
    return re.sub(r"length (==|<) \d+", rf"length \1 {limit}", recipe)


def check_that_it_says_rows_are_missing(ran):
    assert ran.code != 0
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1
    assert ran.stderr.endswith(": narrow the window\n")


@pytest.mark.parametrize("name", sorted(ANSWERS.keys() - SHOWN_UP_TO_THE_LIMIT - {FACEBOOK_SHARE}))
def test_an_answer_that_the_limit_cut_is_no_answer(name, shop, sh_blocks, run_script):
    project, _ = shop
    recipe = narrow(sh_blocks[name].text, limit=1)
    ran = run_script(recipe, shell="dash", environ=project.environ)
    check_that_it_says_rows_are_missing(ran)


def test_the_first_of_a_visitor_s_events_is_not_taken_from_the_newest(shop, sh_blocks, run_script):
    project, sent = shop
    visits = [each for each in sent if each["anonymous_id"] == "u_abc"]
    recipe = narrow(sh_blocks[FIRST_TOUCH].text, limit=len(visits))
    ran = run_script(recipe, shell="dash", environ=project.environ)
    check_that_it_says_rows_are_missing(ran)
    assert len(ran.calls_of("curl")) == 2


@pytest.mark.parametrize(
    ("name", "wanted", "last"),
    [(FACEBOOK_SHARE, "facebook", "newsletter"), (ARRIVED, "order-1001", "order-1002")],
    ids=["a source", "an event"],
)
def test_what_the_limit_may_have_left_out_is_not_said_to_be_missing(
    name, wanted, last, shop, sh_blocks, run_script
):
    project, _ = shop
    recipe = sh_blocks[name].text.replace(wanted, last)
    ran = run_script(narrow(recipe, limit=3), shell="dash", environ=project.environ)
    check_that_it_says_rows_are_missing(ran)
    recipe = recipe.replace(last, "nowhere")
    ran = run_script(recipe, shell="dash", environ=project.environ)
    assert (ran.code, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.parametrize("name", [*ANSWERS, ARRIVED])
def test_a_last_filter_that_fails_fails_the_command(name, shop, sh_blocks, run_script):
    project, _ = shop
    recipe = sh_blocks[name].text.removesuffix("'\n") + """ | error("it fails")'"""
    ran = run_script(recipe, shell="dash", environ=project.environ)
    assert ran.code != 0
    assert ran.stdout == ""
    assert "it fails" in ran.stderr


@pytest.fixture
def names_as_csv(query, sh_blocks):
    """A recipe with what the skill says to put in the place of its end for CSV."""
    (program,) = re.findall(r"in `(\(\..+ @csv)`", query.document("recipes").text)
    head, _ = sh_blocks[EVENT_NAMES].text.rsplit(".[]'", 1)
    return f"{head}{program}'".replace("jq -cRs", "jq -rRs")


def test_csv_has_a_head_and_the_rows(names_as_csv, shop, run_script):
    project, sent = shop
    ran = run_script(names_as_csv, shell="dash", environ=project.environ)
    assert ran.code == 0, ran.stderr
    rows = [row | {"value": int(row["value"])} for row in csv.DictReader(ran.stdout.splitlines())]
    assert rows == event_names(sent, datetime.now(UTC))


def test_csv_of_no_rows_is_empty(names_as_csv, project, run_script):
    ran = run_script(names_as_csv, shell="dash", environ=project.environ)
    assert (ran.code, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("amounts", "cents"),
    [([300, "700", None], 1000), ([0.5, "0.25"], 0.75)],
    ids=["whole", "parts"],
)
def test_revenue_is_added_up_from_numbers_in_text_too(
    amounts, cents, project, sh_blocks, run_script
):
    project.send([purchase(amount) for amount in amounts])
    ran = run_script(sh_blocks[REVENUE].text, shell="dash", environ=project.environ)
    assert ran.lines == [{"source": "direct", "purchases": len(amounts), "cents": cents}]


def test_revenue_that_is_no_number_is_not_left_out_in_silence(project, sh_blocks, run_script):
    project.send([purchase(700), purchase("seven")])
    ran = run_script(sh_blocks[REVENUE].text, shell="dash", environ=project.environ)
    assert ran.code != 0
    assert ran.stdout == ""
    assert "seven" in ran.stderr


def purchase(amount):
    return {"event": "purchase", "properties": {"amount_cents": amount}}


def test_an_event_is_found_by_a_machine_whose_clock_is_slow(project, sh_blocks, run_script):
    soon = write_time(datetime.now(UTC) + timedelta(minutes=10))
    project.send([{"event": "purchase", "event_id": "order-1001", "timestamp": soon}])
    ran = run_script(sh_blocks[ARRIVED].text, shell="dash", environ=project.environ)
    (found,) = ran.lines
    assert found["timestamp"] == soon


def test_an_error_ends_with_its_body_and_a_status(shell, shop, sh_blocks, run_script):
    project, _ = shop
    recipe = sh_blocks[EVENT_NAMES].text
    ran = run_script(
        recipe.replace('"event_name"', '"colour"'), shell=shell, environ=project.environ
    )
    assert ran.code != 0
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith('{"error":"invalid_group_by","details":')
    assert line.endswith(" HTTP 400")


def test_a_user_that_nobody_knows_is_said_to_be_none(shop, sh_blocks, run_script):
    project, _ = shop
    recipe = sh_blocks[FIRST_TOUCH].text
    ran = run_script(recipe.replace("user_42", "nobody"), shell="bash", environ=project.environ)
    assert ran.code != 0
    assert ran.stderr == "no such user\n"
    assert len(ran.calls_of("curl")) == 1


@pytest.mark.parametrize("host", [{}, {"MILLIMETRIC_HOST": ""}], ids=["unset", "empty"])
def test_the_hosted_api_is_asked_where_no_other_is_named(host, sh_blocks, run_script):
    """With a curl that only shows its options."""
    recipe = sh_blocks[FACEBOOK_SHARE].text
    recipe = recipe[: recipe.index("| curl")] + "| cat"
    key = "rk_test_abcdefgh_" + "s" * 32
    ran = run_script(recipe, shell="bash", environ={"MILLIMETRIC_RK": key, **host})
    assert "url=https://api.millimetric.ai/v1/sources?from=" in ran.stdout
    assert f"oauth2-bearer={key}" in ran.stdout
