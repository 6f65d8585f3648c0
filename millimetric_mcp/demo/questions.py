"""What is asked of the events: each question is put to a tool, shown, and checked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from millimetric_mcp.contract.reads import MAX_SOURCES_LIMIT, MAX_STATS_LIMIT, SourceRow, StatsRow
from millimetric_mcp.demo.answers import EVENT_FIELDS, Events, EventSeen, Sources, Statistics
from millimetric_mcp.demo.generator import PURCHASE, SIGNUP, GeneratedEvent
from millimetric_mcp.demo.payload import write_time
from millimetric_mcp.demo.stage import NUMBER, Stage, cut
from millimetric_mcp.demo.truth import Tallies, Tally, Truth

FACEBOOK, PAID, SOCIAL = "facebook", "paid", "social"
SHOWN_SOURCES = 12
PAGE_CHARS, SOURCE_CHARS = 22, 13
LONG_SOURCE_CHARS = 16
SHARE_DIGITS = 9

A_DAY: Mapping[str, object] = {"interval": "day", "fill_empty": True}

Found = Mapping[tuple[str, ...], int]


@dataclass(frozen=True, slots=True)
class Case:
    """The stage, what is true, and the window every question is about."""

    stage: Stage
    truth: Truth
    window: Mapping[str, str]


async def ask_sources(case: Case) -> None:
    """Every source and medium with its events, visitors and paid share."""
    stage = case.stage
    stage.title("Where does our traffic come from?")
    answer = await stage.ask(Sources, "top_sources", **case.window, limit=MAX_SOURCES_LIMIT)
    most = max((row.events for row in answer.rows), default=0)
    stage.table(
        ["Source", "Medium", NUMBER + "Events", "", NUMBER + "Visitors", NUMBER + "Paid"],
        [
            (
                cut(row.source, LONG_SOURCE_CHARS),
                row.medium or "",
                f"{row.events:,}",
                stage.bar(row.events, most=most),
                f"{row.uniques:,}",
                f"{row.paid_share:.0%}",
            )
            for row in answer.rows[:SHOWN_SOURCES]
        ],
    )
    if len(answer.rows) > SHOWN_SOURCES:
        stage.say(f"and {len(answer.rows) - SHOWN_SOURCES} more rows")
    check_sources(stage, answer.rows, sent=case.truth.by_source_medium)
    stage.verdict()


async def ask_facebook(case: Case) -> None:
    """Facebook as one row whose paid share answers the question."""
    stage = case.stage
    stage.title("Facebook: paid or organic?")
    answer = await stage.ask(
        Sources, "top_sources", **case.window, breakdown="source", source=FACEBOOK
    )
    for row in answer.rows:
        _show_split(stage, row.paid_share)
        stage.say(f"{row.events * row.paid_share:,.0f} of {row.events:,} events came from ads")
    sent: Tallies = {(FACEBOOK,): case.truth.by_source[(FACEBOOK,)]}
    check_sources(stage, answer.rows, sent=sent)
    stage.verdict()


async def ask_signups_a_day(case: Case) -> None:
    """Sign-ups by day, and their number in all."""
    stage, truth = case.stage, case.truth
    stage.title("How many sign-ups a day?")
    answer = await stage.ask(Statistics, "stats", **case.window, event=SIGNUP, **A_DAY)
    _show_days(stage, answer.rows)
    stage.say(f"{answer.total:,} sign-ups in all")
    sent = sum(found.events for found in truth.signups_by_day.values())
    stage.checks.equal("sign-ups in all", found=answer.total, sent=sent)
    _check_counts(stage, "sign-ups", found=_by_day(answer.rows), sent=truth.signups_by_day)
    stage.verdict()


async def ask_visitors_a_day(case: Case) -> None:
    """Unique visitors by day, and in all, which is not their sum."""
    stage, truth = case.stage, case.truth
    stage.title("How many different people a day?")
    answer = await stage.ask(Statistics, "stats", **case.window, metric="uniques", **A_DAY)
    _show_days(stage, answer.rows)
    stage.say(f"{answer.total:,} people in all")
    stage.checks.near("visitors in all", found=answer.total, sent=truth.total.uniques)
    found = _by_day(answer.rows)
    stage.checks.same_keys("visitors", found=found, sent=truth.by_day)
    for day in sorted(found.keys() & truth.by_day.keys()):
        sent = truth.by_day[day].uniques
        stage.checks.near(f"visitors of {day[0]}", found=found[day], sent=sent)
    stage.verdict("estimates, all within 3 % of what was sent")


async def ask_facebook_signups(case: Case) -> None:
    """Sign-ups by source and medium; ads and posts do not convert alike."""
    stage, truth = case.stage, case.truth
    stage.title("And of the sign-ups Facebook brought: paid or organic?")
    grouping: dict[str, object] = {"group_by": ["source", "medium"], "limit": MAX_STATS_LIMIT}
    answer = await stage.ask(Statistics, "stats", **case.window, event=SIGNUP, **grouping)
    found: Found = {(row.source or "", row.medium or ""): row.value for row in answer.rows}
    paid, social = found.get((FACEBOOK, PAID), 0), found.get((FACEBOOK, SOCIAL), 0)
    if paid + social:
        _show_split(stage, paid / (paid + social))
    views = truth.by_source[(FACEBOOK,)].paid_share
    stage.say(f"{paid:,} from ads and {social:,} from posts, where ads are {views:.0%} of events")
    _check_counts(stage, "sign-ups", found=found, sent=truth.signups_by_source_medium)
    stage.verdict()


async def ask_devices(case: Case) -> None:
    """Purchases by what the User-Agent says they were made on."""
    stage = case.stage
    stage.title("On what do people buy?")
    answer = await stage.ask(
        Statistics, "stats", **case.window, event=PURCHASE, group_by=["device_type"]
    )
    most = max((row.value for row in answer.rows), default=0)
    stage.table(
        ["Device", NUMBER + "Purchases", ""],
        [
            (row.device_type or "", f"{row.value:,}", stage.bar(row.value, most=most))
            for row in answer.rows
        ],
    )
    found: Found = {(row.device_type or "",): row.value for row in answer.rows}
    _check_counts(stage, "purchases", found=found, sent=case.truth.purchases_by_device)
    stage.verdict()


async def ask_events(
    case: Case, user_id: str, *, sent: Sequence[GeneratedEvent], with_times: bool
) -> None:
    """A user's events, newest first; ``sent`` is oldest first."""
    stage = case.stage
    question: dict[str, object] = {"user_id": user_id, "fields": list(EVENT_FIELDS)}
    answer = await stage.ask(Events, "raw_events", **case.window, **question, limit=len(sent) + 1)
    if answer.rows:
        stage.table(["When (UTC)", "Event", "Page", "From"], map(_describe, answer.rows))
    else:
        stage.say(f"Nothing: {user_id} has no events.")
    stage.checks.equal(f"number of {user_id}'s events", found=len(answer.rows), sent=len(sent))
    for row, event in zip(answer.rows, reversed(sent), strict=False):
        _check_event(stage, row, sent=event, with_times=with_times)
    stage.verdict()


def check_sources(stage: Stage, rows: Iterable[SourceRow], *, sent: Tallies) -> None:
    """Every row is there, with its counts exactly and its visitors within 3 %."""
    found = {tuple(filter(None, (row.source, row.medium))): row for row in rows}
    stage.checks.same_keys("sources", found=found, sent=sent)
    for key in sorted(found.keys() & sent.keys()):
        _check_source(stage, " / ".join(key), found=found[key], sent=sent[key])


def _check_source(stage: Stage, name: str, *, found: SourceRow, sent: Tally) -> None:
    checks = stage.checks
    shares = (round(share, SHARE_DIGITS) for share in (found.paid_share, sent.paid_share))
    checks.equal(f"events of {name}", found=found.events, sent=sent.events)
    checks.near(f"visitors of {name}", found=found.uniques, sent=sent.uniques)
    checks.equal(f"paid share of {name}", found=next(shares), sent=next(shares))


def _check_counts(stage: Stage, what: str, *, found: Found, sent: Tallies) -> None:
    stage.checks.same_keys(what, found=found, sent=sent)
    for key in sorted(found.keys() & sent.keys()):
        name = f"{what} of {' / '.join(key)}"
        stage.checks.equal(name, found=found[key], sent=sent[key].events)


def _check_event(stage: Stage, row: EventSeen, *, sent: GeneratedEvent, with_times: bool) -> None:
    truth = sent.attribution
    wanted = {
        "event_name": sent.event,
        "source": truth.source,
        "medium": truth.medium,
        "source_rule_id": truth.rule_id,
    }
    if with_times:
        wanted["timestamp"] = write_time(sent.timestamp_ms)
    for column, value in wanted.items():
        name = f"{column} of {sent.user_id}'s {sent.event}"
        stage.checks.equal(name, found=getattr(row, column), sent=value)


def _by_day(rows: Iterable[StatsRow]) -> Found:
    """The days on which there is anything to count."""
    return {((row.bucket or "")[:10],): row.value for row in rows if row.value}


def _show_days(stage: Stage, rows: Sequence[StatsRow]) -> None:
    days = [date.fromisoformat((row.bucket or "")[:10]) for row in rows]
    stage.columns(
        [row.value for row in rows],
        labels=[f"{day:%b %d}" if day.weekday() == 0 else "" for day in days],
    )


def _show_split(stage: Stage, share: float) -> None:
    stage.split(share, first=f"{share:.1%} paid", second=f"{1 - share:.1%} social")


def _describe(row: EventSeen) -> tuple[str, ...]:
    when = row.timestamp[5:16].replace("T", " ")
    source = f"{cut(row.source, SOURCE_CHARS)} / {row.medium}"
    return when, row.event_name, cut(row.path, PAGE_CHARS), source
