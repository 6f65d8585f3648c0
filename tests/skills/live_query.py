"""Every recipe of the query skill, run on known events, its numbers compared."""

import csv
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
CHANNEL_NAMES = {
    ("facebook", "paid"): "paid_social",
    ("facebook", "social"): "social",
    ("google", "organic"): "organic_search",
    ("newsletter", "email"): "email",
}
LOOK_BACK = timedelta(days=30)
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
OF_EACH_NAME = (4, 5, 6)  # of visitors without another event in these hours
BEFORE_USER_42_S = 20 * 86_400


@dataclass(frozen=True)
class Sent:
    """An event as it was sent, and the columns that the API stores for it."""

    at: datetime
    body: dict[str, object] = field(repr=False)
    columns: dict[str, object] = field(repr=False)

    def __getitem__(self, column: str) -> object:
        return self.columns[column]


def write_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def make_event(number: int, *, now: datetime, age_s: float) -> Sent:
    """Return one event of a history in which every few events differ in every column."""
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
        body["properties"] = {"amount_cents": 100 + number, "amount": 1 + number / 4}
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
    """Return a month and a half of events, one every three hours, newest first."""
    return [
        make_event(number, now=now, age_s=NEWEST_AGE_S + number * STEP_S) for number in range(420)
    ]


def send(project, events: Sequence[Sent]) -> None:
    """Send the events, each from an address and with a user agent that give its columns."""
    for country, address in PLACES.items():
        for device, agent in DEVICES.items():
            same = [
                each.body
                for each in events
                if each["country"] == country and (each["device_type"], each["browser"]) == device
            ]
            if same:
                project.send(same, **{"X-Forwarded-For": address, "User-Agent": agent})


def fill(project):
    """Send that history and an order; return the events."""
    sent = make_history(datetime.now(UTC))
    order = make_event(1, now=datetime.now(UTC), age_s=100)
    order.body.update(event="purchase", event_id="order-1001", properties={"amount_cents": 4900})
    order.columns.update(event_name="purchase", event_id="order-1001")
    sent.insert(1, order)
    send(project, sent)
    assert project.count() == len(sent)
    return sent


@pytest.fixture(scope="module")
def shop(api):
    """A project with that history, and the events that were sent."""
    project = api.new_project("shop")
    return project, fill(project)


@pytest.fixture(scope="module")
def history(api):
    """A second shop, which `shop_of_today` adds events to."""
    project = api.new_project("shop-of-today")
    return project, fill(project)


@pytest.fixture
def shop_of_today(history):
    """A shop with an event of each name today: right after midnight `shop` has none."""
    project, sent = history
    now = datetime.now(UTC)
    if {event["event_name"] for event in since(sent, midnight(now))} != set(NAMES):
        of_now = [make_event(number, now=now, age_s=0) for number in OF_EACH_NAME]
        send(project, of_now)
        sent[:0] = of_now
    return project, sent


# --- The expected rows -------------------------------------------------------------------------


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
    """Return rows of stats: buckets ascending, then values descending, then the columns."""
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
    return sources(since(sent, now - timedelta(days=7)), "source", "medium")


def facebook_share(sent, now):
    return [
        row for row in sources(since(sent, month(now)), "source") if row["source"] == "facebook"
    ]


def sign_ups_by_country(sent, now):
    found = since(sent, midnight(now, days_ago=6), event_name="signup")
    return [
        {"day": row["bucket"][:10], "country": row["country"], "value": row["value"]}
        for row in count_by(found, "country", uniques=True, bucket=midnight)
    ]


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
    totals: Counter[str] = Counter()
    for event in since(sent, month(now), event_name="purchase"):
        totals[event["source"]] += event.body["properties"]["amount_cents"]
    return rank(totals, "source")


def rank(totals: Counter[str], column: str) -> list[dict[str, object]]:
    """Return rows of stats by one column: values descending, then the column."""
    rows = sorted(totals.items(), key=lambda row: (-row[1], row[0]))
    return [{column: name, "value": value} for name, value in rows]


def revenue_by_day(sent, now):
    found = since(sent, midnight(now, days_ago=6), event_name="purchase")
    totals: Counter[datetime] = Counter()
    for event in found:
        totals[midnight(event.at)] += event.body["properties"]["amount_cents"]
    return [{"bucket": write_time(day), "value": cents} for day, cents in sorted(totals.items())]


def visits(sent, now):
    """By source: here every event is a visit, because they are hours apart."""
    return count_by(since(sent, midnight(now, days_ago=6)), "source", "medium")


def described(sent, now):
    found = since(sent, midnight(now, days_ago=29))
    rows = []
    for row in count_by(found, "event_name"):
        bodies = [e.body for e in found if e["event_name"] == row["event_name"]]
        counts = Counter(key for body in bodies for key in body.get("properties", {}))
        keys = sorted(counts, key=lambda key: (-counts[key], key))
        rows.append({"event_name": row["event_name"], "events": row["value"], "properties": keys})
    return rows


def find_touches(sent, event, *, lookback):
    visits = since(sent, event.at - lookback, anonymous_id=event["anonymous_id"])
    return [each for each in visits if each.at <= event.at and each["source"] != "direct"]


def revenue_by_channel(sent, now):
    totals: Counter[str] = Counter()
    for event in since(sent, month(now), event_name="purchase"):
        touches = find_touches(sent, event, lookback=LOOK_BACK)
        newest = max(touches, key=lambda each: each.at, default=None)
        channel = CHANNEL_NAMES[newest["source"], newest["medium"]] if newest else "direct"
        totals[channel] += event.body["properties"].get("amount", 0)
    return rank(totals, "channel")


def revenue_by_first_source(sent, now):
    totals: Counter[str] = Counter()
    for event in since(sent, month(now), event_name="purchase"):
        touches = find_touches(sent, event, lookback=timedelta(days=90))
        oldest = min(touches, key=lambda each: each.at, default=None)
        source = oldest["source"] if oldest else "direct"
        totals[source] += event.body["properties"].get("amount", 0)
    return rank(totals, "source")


def first_touch(sent, now):
    visits = since(sent, now - timedelta(days=90), anonymous_id="u_abc")
    columns = ("timestamp", "event_name", "source", "medium", "campaign", "url", "source_rule_id")
    return [pick(visits[-1], *columns)]


def funnel(sent, now):
    found = since(sent, midnight(now, days_ago=29))
    steps = ("$pageview", "signup", "purchase")
    levels = [count_steps(events, steps) for events in split_by_person(found)]
    people = [sum(level > step for level in levels) for step in range(len(steps))]
    return [
        {"event": step, "people": count, "from_first": count / people[0]}
        for step, count in zip(steps, people, strict=True)
    ]


def split_by_person(events: Sequence[Sent]) -> list[list[Sent]]:
    """Return each person's events, oldest first: every visitor here has one user, or none."""
    people: dict[object, list[Sent]] = {}
    for event in sorted(events, key=lambda event: event.at):
        people.setdefault(event["anonymous_id"], []).append(event)
    return list(people.values())


def count_steps(events: Sequence[Sent], steps: Sequence[str]) -> int:
    """Return how many steps were taken at most, in their order and within 7 days."""
    most = 0
    for first in (event for event in events if event["event_name"] == steps[0]):
        level, at = 1, first.at
        for step in steps[1:]:
            later = [e.at for e in events if e["event_name"] == step and e.at >= at]
            if not later or later[0] > first.at + timedelta(days=7):
                break
            level, at = level + 1, later[0]
        most = max(most, level)
    return most


def retention(sent, now):
    weeks: dict[datetime, list[set[datetime]]] = {}
    for events in split_by_person(since(sent, midnight(now, days_ago=41))):
        first = next((event.at for event in events if event["event_name"] == "signup"), None)
        if first:
            views = {
                monday(event.at)
                for event in events
                if event["event_name"] == "$pageview" and event.at >= first
            }
            weeks.setdefault(monday(first), []).append(views)
    rows = []
    for week, people in sorted(weeks.items()):
        later = range((monday(now) - week).days // 7 + 1)
        returned = [sum(week + timedelta(weeks=n) in views for views in people) for n in later]
        rows.append({"week": f"{week:%Y-%m-%d}", "people": len(people), "returned": returned})
    return rows


def why(sent, now):
    found = since(sent, midnight(now, days_ago=6), anonymous_id="u_abc")[:20]
    columns = ("timestamp", "source", "medium", "source_rule_id", "source_confidence")
    return [pick(each, *columns, "url", "referrer") for each in found]


SHARE = "query/SKILL: What share of our Facebook traffic is paid this month?"
EVENT_NAMES = "query/recipes: Which events are there?"
CHANNEL = "query/SKILL: Which channel brought the revenue?"
FIRST_TOUCH = "query/recipes: Where did user_42 first come from?"
ARRIVED = "query/recipes: Did my event arrive?"
ANSWERS = {
    SHARE: facebook_share,
    "query/SKILL: Top sources": top_sources,
    "query/SKILL: Daily unique sign-ups by country, last 7 days": sign_ups_by_country,
    "query/SKILL: What did user_42 do this week?": user_42_this_week,
    "query/recipes: Sign-ups per day by source, last 30 days": sign_ups_by_source,
    "query/recipes: Campaigns that brought purchases this month": campaigns,
    "query/recipes: Visitors this week against last week": week_against_week,
    "query/recipes: Facebook, paid share by day, last 7 days": facebook_by_day,
    "query/recipes: Busiest pages today": busiest_pages,
    "query/recipes: Devices and browsers, last 7 days": devices,
    EVENT_NAMES: event_names,
    "query/recipes: Revenue by source this month": revenue,
    "query/recipes: Revenue per day, last 7 days": revenue_by_day,
    "query/recipes: What first brought the people who bought this month?": revenue_by_first_source,
    "query/recipes: Visits by source, last 7 days": visits,
    "query/recipes: Which properties do events have?": described,
    CHANNEL: revenue_by_channel,
    FIRST_TOUCH: first_touch,
    "query/recipes: Where do people drop out?": funnel,
    "query/recipes: Do people come back?": retention,
    "query/recipes: Why does an event have this source?": why,
}
ALL_TIME = "from=1970-02-01 to=2100-01-01"


def test_every_recipe_of_the_query_skill_has_an_expected_answer(sh_blocks):
    assert {name for name in sh_blocks if name.startswith("query/")} == {*ANSWERS, ARRIVED}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_recipe_prints_the_numbers_that_were_sent(
    name, shell, shop_of_today, sh_blocks, run_script
):
    project, sent = shop_of_today
    before = datetime.now(UTC)
    ran = run_script(sh_blocks[name].text, shell=shell, environ=project.environ)
    answer = ran.lines
    # A period of 7d starts now, so an event may leave it while the test runs.
    moments = (before, before + timedelta(seconds=1), datetime.now(UTC))
    assert answer in [ANSWERS[name](sent, now) for now in moments]
    assert answer, "an empty answer proves nothing"


@pytest.mark.parametrize("name", [name for name in ANSWERS if name.startswith("query/SKILL")])
def test_a_recipe_of_the_skill_makes_one_request(name, shop, sh_blocks, run_script):
    project, _ = shop
    ran = run_script(sh_blocks[name].text, shell="bash", environ=project.environ)
    assert ran.code == 0
    assert len(ran.calls_of("curl")) == 1
    assert sh_blocks[name].text.count("\n") == 1


def test_a_response_passes_through_a_pipe_to_jq(shop, shell, run_script):
    project, sent = shop
    script = "scripts/mm sources from=this_month breakdown=source | jq -c '.rows[]'"
    ran = run_script(script, shell=shell, environ=project.environ)
    assert ran.lines == sources(since(sent, month(datetime.now(UTC))), "source")


def test_an_event_is_found_by_its_id(shell, shop, sh_blocks, run_script):
    project, _ = shop
    ran = run_script(sh_blocks[ARRIVED].text, shell=shell, environ=project.environ)
    (found,) = ran.lines
    assert found["event_id"] == "order-1001"


def test_an_event_is_found_when_the_clock_of_this_machine_is_slow(project, sh_blocks, run_script):
    soon = write_time(datetime.now(UTC) + timedelta(minutes=10))
    project.send([{"event": "purchase", "event_id": "order-1001", "timestamp": soon}])
    ran = run_script(sh_blocks[ARRIVED].text, shell="dash", environ=project.environ)
    (found,) = ran.lines
    assert found["timestamp"] == soon


# --- Missing rows -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    ["sources", "stats group_by=event_name", "query"],
)
def test_all_fails_when_rows_may_be_missing(query, shell, shop, run_script):
    project, _ = shop
    script = f"scripts/mm {query} {ALL_TIME} limit=2 --all --jq '.rows[]'"
    ran = run_script(script, shell=shell, environ=project.environ)
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr == (
        "mm: The response has as many rows as limit allows (2). Some may be missing. "
        "Choose a shorter period.\n"
    )


def test_all_asks_for_as_many_rows_as_the_api_allows(shop, run_script):
    project, sent = shop
    script = f"scripts/mm query {ALL_TIME} --all --jq '.rows | length'"
    assert run_script(script, shell="dash", environ=project.environ).lines == [len(sent)]


def test_a_part_of_the_rows_is_printed_without_all(shop, run_script):
    project, sent = shop
    script = f"scripts/mm query {ALL_TIME} limit=2 --jq '.rows[].anonymous_id | tojson'"
    ran = run_script(script, shell="dash", environ=project.environ)
    assert ran.lines == [each["anonymous_id"] for each in sent[:2]]


@pytest.mark.parametrize(
    ("query", "found", "beyond_the_limit", "unknown"),
    [
        (f"sources breakdown=source {ALL_TIME}", "facebook", "newsletter", "nowhere"),
        (f"query {ALL_TIME}", "order-1001", "order-1002", "order-1003"),
    ],
    ids=["source", "event"],
)
def test_no_match_is_an_error_only_when_there_may_be_more_rows(
    query, found, beyond_the_limit, unknown, shop, run_script
):
    project, _ = shop

    def look_for(value, limit):
        script = f"scripts/mm {query} limit={limit} --jq '.rows[] | select(IN(.[]; \"{value}\"))'"
        return run_script(script, shell="dash", environ=project.environ)

    most = 200 if "sources" in query else 1000
    missing = look_for(unknown, most)
    assert (missing.code, missing.stdout, missing.stderr) == (0, "", "")
    assert found in look_for(found, 2).stdout
    cut = look_for(beyond_the_limit, 2)
    assert (cut.code, cut.stdout) == (1, "")
    assert cut.stderr == (
        "mm: No match in the first 2 rows, but there may be more rows. "
        "Choose a shorter period, or raise limit.\n"
    )


def test_the_first_event_of_a_visitor_is_not_taken_from_the_newest(shop, sh_blocks, run_script):
    project, sent = shop
    visits = [each for each in sent if each["anonymous_id"] == "u_abc"]
    recipe = sh_blocks[FIRST_TOUCH].text.replace("--all", f"limit={len(visits)} --all")
    ran = run_script(recipe, shell="dash", environ=project.environ)
    assert ran.code == 1
    assert "Some may be missing" in ran.stderr
    assert len(ran.calls_of("curl")) == 2


def test_an_unknown_user_is_an_error(shop, sh_blocks, run_script):
    project, _ = shop
    recipe = sh_blocks[FIRST_TOUCH].text.replace("user_42", "user_0")
    ran = run_script(recipe, shell="bash", environ=project.environ)
    assert ran.code == 1
    assert "no such user" in ran.stderr
    assert len(ran.calls_of("curl")) == 1


# --- Filters and CSV ----------------------------------------------------------------------------


@pytest.mark.parametrize("filter_", ['.rows[] | error("no")', ".rows[", ".rows | .x"])
def test_mm_fails_when_the_filter_fails(filter_, shell, shop, run_script):
    project, _ = shop
    ran = run_script(f"scripts/mm sources --jq '{filter_}'", shell=shell, environ=project.environ)
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.endswith("mm: The --jq filter failed.\n")


@pytest.mark.parametrize("options", ["--csv", "--csv --jq '.rows[]'"])
def test_csv_has_a_header_and_the_rows(options, shell, shop, run_script):
    project, sent = shop
    script = f"scripts/mm stats from=today-29d group_by=event_name {options}"
    ran = run_script(script, shell=shell, environ=project.environ)
    assert ran.code == 0, ran.stderr
    rows = [row | {"value": int(row["value"])} for row in csv.DictReader(ran.stdout.splitlines())]
    assert rows == event_names(sent, datetime.now(UTC))


def test_csv_without_rows_is_empty(project, run_script):
    ran = run_script("scripts/mm stats --csv", shell="dash", environ=project.environ)
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout in {"", '"value"\n0\n'}
