"""The numbers of a report: what is asked, and what the answers say."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from millimetric_mcp.cli.report.windows import Period, Range
from millimetric_mcp.client import MillimetricClient
from millimetric_mcp.contract import reads
from millimetric_mcp.contract.attribution import AttributionModel
from millimetric_mcp.contract.reads import Bots, GroupColumn, Metric, PaidProof
from millimetric_mcp.contract.validation import format_timestamp, parse_timestamp

PAGEVIEW = "$pageview"
LISTS = {
    "channels": GroupColumn.CHANNEL,
    "pages": GroupColumn.PATH,
    "campaigns": GroupColumn.CAMPAIGN,
    "countries": GroupColumn.COUNTRY,
    "devices": GroupColumn.DEVICE_TYPE,
}
"""Each list of the report, and its column."""
REVENUE = "revenue_by_channel"
"""The list that has sums of a property, not visitors or page views."""
WITHIN = "7d"
INTERNAL = "internal"
"""The source and the channel of clicks within the site."""

_NUMERIC = re.compile("int|float|double|number|decimal", re.IGNORECASE)
_SIGN_UP = re.compile("sign.?up|regist|subscri|trial|lead", re.IGNORECASE)
_SALE = re.compile("purchase|order|payment|paid|sale|checkout|invoice", re.IGNORECASE)
_AMOUNT = re.compile("revenue|amount|total|value|price", re.IGNORECASE)
_NAMES = timedelta(days=7)
_MOST_ROWS = 10


@dataclass(frozen=True, slots=True)
class Choices:
    """What a report is about beside its window; what is None or empty is chosen from the data.

    ``goal`` is an event's name, ``revenue`` an event's name and its property, ``steps`` the
    events of the funnel.
    """

    goal: str | None
    revenue: tuple[str, str] | None
    steps: Sequence[str]
    attribution: AttributionModel


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of a window, and of the window before it."""

    name: str
    now: reads.Number
    before: reads.Number


@dataclass(frozen=True, slots=True)
class Facebook:
    """Events of the source facebook: all, paid ones, and those that a paid utm_medium proves.

    ``proven`` is None if events count for a touch: their own URL does not show what it rests on.
    """

    events: int
    paid: int
    proven: int | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """The visitors and page views of one bucket, which begins at ``start``."""

    start: str
    visitors: reads.Number
    page_views: reads.Number


@dataclass(frozen=True, slots=True)
class Numbers:
    """Everything that a report shows. Lists are the largest first, at most ten rows.

    Internal clicks come last, and ``paid_share`` leaves them out; it is None without other events.
    ``bot_events`` is None if the API does not say how many it left out.
    """

    range: Range
    choices: Choices
    today: Sequence[Figure]
    figures: Sequence[Figure]
    bot_events: int | None
    buckets: Sequence[Bucket]
    paid_share: float | None
    facebook: Facebook
    sources: Sequence[reads.SourceRow]
    lists: Mapping[str, Sequence[tuple[str, reads.Number]]]
    funnel: Sequence[reads.FunnelRow]
    retention: Sequence[reads.RetentionRow]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values. Lists have a row's name and number."""
        shown = self.range
        return {
            "range": shown.name,
            "timezone": shown.zone.key,
            **_write_window(shown.window),
            "before": _write_window(shown.before),
            "attribution": self.choices.attribution.value,
            "today": [asdict(figure) for figure in self.today],
            "figures": [asdict(figure) for figure in self.figures],
            "bot_events": self.bot_events,
            "interval": shown.interval.value,
            "buckets": [asdict(bucket) for bucket in self.buckets],
            "paid_share": self.paid_share,
            "facebook": asdict(self.facebook),
            "sources": [row.model_dump() for row in self.sources],
            **{
                name: [{"name": text, "value": value} for text, value in rows]
                for name, rows in self.lists.items()
            },
            "funnel": [row.model_dump(exclude={"group"}) for row in self.funnel],
            "retention": [row.model_dump() for row in self.retention],
        }


@dataclass(frozen=True, slots=True)
class _Asker:
    """Asks about people, not about bots."""

    client: MillimetricClient
    choices: Choices
    zone: str

    async def schema(self, window: Period) -> reads.SchemaResult:
        """Return that of the last days; of the whole window, if they have no events."""
        for start in dict.fromkeys((max(window.start, window.end - _NAMES), window.start)):
            ends = {"from": start, "to": window.end, "bots": Bots.EXCLUDE}
            found = await self.client.schema(reads.SchemaParams.model_validate(ends))
            if found.rows:
                break
        return found

    async def stats(
        self,
        window: Period,
        *,
        event: str | None = None,
        **params: object,
    ) -> list[reads.StatsRow]:
        question = reads.StatsParams.model_validate(
            {
                **_ends(window),
                "bots": Bots.EXCLUDE,
                "attribution": self.choices.attribution,
                **({"event": event} if event else {}),
                **params,
            }
        )
        return (await self.client.stats(question)).rows

    async def total(self, window: Period, **params: Any) -> reads.Number:  # noqa: ANN401
        rows = await self.stats(window, **params)
        return (rows[0].value or 0) if rows else 0

    async def proven(self, window: Period) -> int | None:
        """Return how many paid events of Facebook a paid utm_medium proves."""
        if self.choices.attribution is not AttributionModel.EVENT:
            return None
        rows = await self.stats(
            window, source="facebook", medium="paid", group_by=(GroupColumn.PAID_PROOF,)
        )
        return sum(int(row.value or 0) for row in rows if row.paid_proof is PaidProof.UTM_MEDIUM)

    async def figures(
        self, now: Period, before: Period, goal: str, revenue: tuple[str, str] | None
    ) -> list[Figure]:
        asked: dict[str, dict[str, Any]] = {
            "Visitors": {"metric": Metric.UNIQUES},
            "Page views": {"event": PAGEVIEW},
        }
        if goal != PAGEVIEW:
            asked[goal] = {"event": goal}
        if revenue:
            event, key = revenue
            name = f"{event}: {key}"
            asked[name] = {"metric": Metric.SUM, "property": key, "event": event}
        values = await asyncio.gather(
            *(self.total(window, **params) for params in asked.values() for window in (now, before))
        )
        return [
            Figure(name, *pair)
            for name, pair in zip(asked, zip(values[::2], values[1::2], strict=True), strict=True)
        ]

    async def list_largest(
        self, window: Period, column: GroupColumn
    ) -> list[tuple[str, reads.Number]]:
        is_page = column is GroupColumn.PATH
        rows = await self.stats(
            window,
            metric=Metric.COUNT if is_page else Metric.UNIQUES,
            event=PAGEVIEW if is_page else None,
            group_by=(column,),
            limit=_MOST_ROWS + 1,  # one may be of events without a campaign
        )
        is_named = column is GroupColumn.CAMPAIGN
        found = [(getattr(row, column), row.value or 0) for row in rows]
        shown = [(name or "", value) for name, value in found if name or not is_named][:_MOST_ROWS]
        is_channel = column is GroupColumn.CHANNEL
        return sorted(shown, key=lambda row: is_channel and row[0] == INTERNAL)

    async def list_revenue(
        self, window: Period, revenue: tuple[str, str] | None
    ) -> list[tuple[str, reads.Number]]:
        """Return the sum of each channel."""
        if revenue is None:
            return []
        event, key = revenue
        rows = await self.stats(
            window,
            event=event,
            metric=Metric.SUM,
            property=key,
            group_by=(GroupColumn.CHANNEL,),
            attribution=find_revenue_model(self.choices.attribution),
        )
        found = [(row.channel or "", row.value or 0) for row in rows]
        return sorted(found, key=lambda row: row[0] == INTERNAL)

    async def buckets(self, shown: Range) -> list[Bucket]:
        asked: dict[str, Any] = {"interval": shown.interval, "timezone": self.zone, "limit": 1000}
        visitors, views = await asyncio.gather(
            self.stats(shown.window, metric=Metric.UNIQUES, **asked),
            self.stats(shown.window, event=PAGEVIEW, **asked),
        )
        found = [
            {parse_timestamp(row.bucket or ""): row.value or 0 for row in rows}
            for rows in (visitors, views)
        ]
        return [
            Bucket(
                moment.astimezone(shown.zone).isoformat(),
                *(values.get(moment, 0) for values in found),
            )
            for moment in shown.list_buckets()
        ]

    async def sources(self, window: Period) -> reads.SourcesResult:
        question = reads.SourcesParams.model_validate(
            {
                **_ends(window),
                "bots": Bots.EXCLUDE,
                "attribution": self.choices.attribution,
                "limit": reads.MAX_SOURCES_LIMIT,
            }
        )
        return await self.client.sources(question)

    async def funnel(self, window: Period, steps: Sequence[str]) -> list[reads.FunnelRow]:
        question = reads.FunnelParams.model_validate(
            {
                **_ends(window),
                "bots": Bots.EXCLUDE,
                "steps": [{"event": step} for step in steps],
                "within": WITHIN,
            }
        )
        return (await self.client.funnel(question)).rows

    async def retention(self, window: Period) -> list[reads.RetentionRow]:
        question = reads.RetentionParams.model_validate(
            {
                **_ends(window),
                "bots": Bots.EXCLUDE,
                "event": PAGEVIEW,
                "interval": reads.Interval.WEEK,
                "timezone": self.zone,
            }
        )
        return (await self.client.retention(question)).rows


def find_revenue_model(chosen: AttributionModel) -> AttributionModel:
    """Return the model for revenue: a sale that a server sends has no source."""
    return AttributionModel.LAST_TOUCH if chosen is AttributionModel.EVENT else chosen


async def ask_all(client: MillimetricClient, shown: Range, choices: Choices) -> Numbers:
    """Return the numbers of a range; the questions are asked at the same time."""
    asker, window = _Asker(client, choices, shown.zone.key), shown.window
    schema = await asker.schema(window)
    goal = choices.goal or _choose_goal(schema.rows)
    revenue = choices.revenue or _choose_revenue(schema.rows)
    start = asyncio.create_task
    today = start(asker.figures(*shown.today, goal, revenue) if shown.today else _nothing())
    figures = start(asker.figures(window, shown.before, goal, revenue))
    buckets = start(asker.buckets(shown))
    found = start(asker.sources(window))
    proven = start(asker.proven(window))
    funnel = start(asker.funnel(window, choices.steps or (PAGEVIEW, goal)))
    retention = start(asker.retention(window))
    lists = {name: start(asker.list_largest(window, column)) for name, column in LISTS.items()}
    lists[REVENUE] = start(asker.list_revenue(window, revenue))
    asked = (today, figures, buckets, found, proven, funnel, retention, *lists.values())
    await asyncio.gather(*asked)
    sources = found.result().rows
    events, paid = _count([row for row in sources if row.source != INTERNAL])
    of_facebook = _count([row for row in sources if row.source == "facebook"])
    return Numbers(
        range=shown,
        choices=choices,
        today=today.result(),
        figures=figures.result(),
        bot_events=found.result().bots_left_out,
        buckets=buckets.result(),
        paid_share=paid / events if events else None,
        facebook=Facebook(*of_facebook, proven=proven.result()),
        sources=sorted(sources[:_MOST_ROWS], key=lambda row: row.source == INTERNAL),
        lists={name: task.result() for name, task in lists.items()},
        funnel=funnel.result(),
        retention=retention.result(),
    )


async def _nothing() -> list[Figure]:
    return []


def _choose_goal(rows: Sequence[reads.SchemaRow]) -> str:
    """Return the event that reads most like a sign-up, then a sale, then the most frequent."""
    names = [row.event_name for row in rows]
    own = [name for name in names if not name.startswith("$")]
    likely = (name for like in (_SIGN_UP, _SALE) for name in own if like.search(name))
    return next(likely, (own or names or [PAGEVIEW])[0])


def _choose_revenue(rows: Sequence[reads.SchemaRow]) -> tuple[str, str] | None:
    """Return an event and its numeric property: what reads most like a sale and its amount."""
    found = [
        (row.event_name, described.key)
        for row in rows
        for described in row.properties
        if not described.key.startswith("$") and any(map(_NUMERIC.search, described.types))
    ]
    return max(
        found,
        key=lambda pair: (bool(_SALE.search(pair[0])), bool(_AMOUNT.search(pair[1]))),
        default=None,
    )


def _count(rows: Sequence[reads.SourceRow]) -> tuple[int, int]:
    """Return how many events the rows have, and how many of them are paid."""
    return sum(row.events for row in rows), sum(round(row.events * row.paid_share) for row in rows)


def _ends(window: Period) -> dict[str, Any]:
    return {"from": window.start, "to": window.end}


def _write_window(window: Period) -> dict[str, str]:
    return {"from": format_timestamp(window.start), "to": format_timestamp(window.end)}
