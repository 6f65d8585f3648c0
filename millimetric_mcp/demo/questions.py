"""What the demo asks through the MCP tools: each result is shown and checked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Generic, Protocol, TypeVar

from mcp import MCPError
from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel, ValidationError

from millimetric_mcp.contract.reads import MAX_SOURCES_LIMIT, MAX_STATS_LIMIT, SourceRow, StatsRow
from millimetric_mcp.contract.validation import list_field_errors
from millimetric_mcp.demo.batches import write_time
from millimetric_mcp.demo.checks import UNIQUES_TOLERANCE, Checks, ExpectedCounts, Tallies
from millimetric_mcp.demo.generator import PURCHASE, SIGNUP, GeneratedEvent
from millimetric_mcp.demo.report import Report, cut, draw_bar
from millimetric_mcp.errors import DemoFailed

SHOWN_SOURCES = 12
BY_DAY: Mapping[str, object] = {"interval": "day", "fill_empty": True}
SUMMARY = "all correct"

ResultT = TypeVar("ResultT", bound=BaseModel)
RowT = TypeVar("RowT")


class WriteResult(BaseModel):
    """Of a tool that writes; ``queued`` is of ``forget``, false if the user declined."""

    ok: bool
    queued: bool = False


class EventSummary(BaseModel):
    """The fields of an event that the demo asks for."""

    timestamp: str
    event_name: str
    path: str = ""
    source: str
    medium: str
    source_rule_id: str


class Rows(BaseModel, Generic[RowT]):
    """Of a tool that reads; ``total`` is of ``stats``, for the whole window."""

    rows: list[RowT]
    total: int = 0


class ToolClient(Protocol):
    """The part of an MCP client that the questions need."""

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> CallToolResult: ...


@dataclass(frozen=True, slots=True)
class Questions:
    """Asks about the events of ``window`` and compares the results with ``expected``.

    ``checks`` collects the checks of all questions.
    """

    report: Report
    client: ToolClient
    expected: ExpectedCounts
    window: Mapping[str, str]
    checks: Checks

    async def call(
        self, result_type: type[ResultT], tool: str, arguments: Mapping[str, object]
    ) -> ResultT:
        """Return a tool's result.

        Raises:
            DemoFailed: the tool failed, or a field of its result is invalid.
        """
        try:
            result = await self.client.call_tool(tool, dict(arguments))
        except MCPError as error:
            raise DemoFailed(f"{tool} failed: {error}") from None
        if result.is_error:
            texts = [part.text for part in result.content if isinstance(part, TextContent)]
            raise DemoFailed(f"{tool} returned an error: {' '.join(texts)}")
        try:
            return result_type.model_validate(result.structured_content)
        except ValidationError as error:
            fields = ", ".join(sorted({each.field for each in list_field_errors(error)}))
            raise DemoFailed(f"the result of {tool} has invalid fields: {fields}") from None

    async def ask(
        self, result_type: type[ResultT], tool: str, arguments: Mapping[str, object]
    ) -> ResultT:
        """Show a tool call and return its result; raises as `call` does."""
        self.report.write_call(tool, arguments)
        return await self.call(result_type, tool, arguments)

    def check(
        self,
        what: str,
        *,
        found: Mapping[str, object],
        sent: Mapping[str, object],
        tolerance: float = 0.0,
    ) -> None:
        """Compare a result's values with those sent, and show whether they are the same."""
        checks = Checks()
        checks.compare(what, found=found, sent=sent, tolerance=tolerance)
        summary = f"all within {tolerance:.0%}" if tolerance else SUMMARY
        self.report.write_checks(checks, summary)
        self.checks.add(checks)

    def check_sources(self, rows: Iterable[SourceRow], sent: Tallies) -> None:
        """Check the events, visitors and paid share of each source."""
        found = {" / ".join(filter(None, (row.source, row.medium))): row for row in rows}
        columns = {"events": 0.0, "uniques": UNIQUES_TOLERANCE, "paid_share": 1e-9}
        checks = Checks()
        for column, tolerance in columns.items():
            checks.compare(
                column,
                found={key: getattr(row, column) for key, row in found.items()},
                sent={key: getattr(tally, column) for key, tally in sent.items()},
                tolerance=tolerance,
            )
        self.report.write_checks(checks, SUMMARY)
        self.checks.add(checks)

    async def read_sources(self) -> list[SourceRow]:
        question = {**self.window, "limit": MAX_SOURCES_LIMIT}
        return (await self.ask(Rows[SourceRow], "top_sources", question)).rows

    async def ask_sources(self) -> None:
        self.report.write_title("Where does our traffic come from?")
        rows = await self.read_sources()
        largest = max((row.events for row in rows), default=0)
        self.report.write_table(
            ["Source", "Medium", "Events", "", "Visitors", "Paid"],
            [
                (
                    cut(row.source, 16),
                    row.medium or "",
                    row.events,
                    draw_bar(row.events, largest=largest),
                    row.uniques,
                    f"{row.paid_share:4.0%}",
                )
                for row in rows[:SHOWN_SOURCES]
            ],
        )
        if len(rows) > SHOWN_SOURCES:
            self.report.write(f"and {len(rows) - SHOWN_SOURCES} more rows")
        self.check_sources(rows, self.expected.by_source_medium)

    async def ask_facebook(self) -> None:
        self.report.write_title("Is our Facebook traffic paid or organic?")
        question = {**self.window, "breakdown": "source", "source": "facebook"}
        rows = (await self.ask(Rows[SourceRow], "top_sources", question)).rows
        for row in rows:
            self.report.write_split(row.paid_share, first="paid", second="social")
            paid = round(row.events * row.paid_share)
            self.report.write(f"{paid:,} of {row.events:,} events came from ads")
        self.check_sources(rows, {"facebook": self.expected.by_source["facebook"]})

    async def ask_signups_by_day(self) -> None:
        self.report.write_title("How many people sign up each day?")
        question = {**self.window, "event": SIGNUP, **BY_DAY}
        result = await self.ask(Rows[StatsRow], "stats", question)
        self._show_days(result.rows)
        self.report.write(f"{result.total:,} sign-ups in total")
        found = {(row.bucket or "")[:10]: row.value for row in result.rows if row.value}
        sent = {day: tally.events for day, tally in self.expected.signups_by_day.items()}
        found["total"], sent["total"] = result.total, sum(sent.values())
        self.check("sign-ups", found=found, sent=sent)

    async def ask_visitors_by_day(self) -> None:
        self.report.write_title("How many visitors come each day?")
        question = {**self.window, "metric": "uniques", **BY_DAY}
        result = await self.ask(Rows[StatsRow], "stats", question)
        self._show_days(result.rows)
        self.report.write(f"{result.total:,} different visitors in total")
        found = {(row.bucket or "")[:10]: row.value for row in result.rows if row.value}
        sent = {day: tally.uniques for day, tally in self.expected.by_day.items()}
        found["total"], sent["total"] = result.total, self.expected.total.uniques
        self.check("visitors", found=found, sent=sent, tolerance=UNIQUES_TOLERANCE)

    def _show_days(self, rows: Iterable[StatsRow]) -> None:
        days = [(date.fromisoformat((row.bucket or "")[:10]), row.value) for row in rows]
        labels = [f"{day:%b %d}" if day.weekday() == 0 else "" for day, _ in days]
        self.report.write_columns([value for _, value in days], labels=labels)

    async def ask_facebook_signups(self) -> None:
        self.report.write_title("How many sign-ups do Facebook's ads and posts bring?")
        question: dict[str, object] = {**self.window, "event": SIGNUP}
        question |= {"group_by": ["source", "medium"], "limit": MAX_STATS_LIMIT}
        result = await self.ask(Rows[StatsRow], "stats", question)
        found = {f"{row.source} / {row.medium}": row.value for row in result.rows}
        paid, social = found.get("facebook / paid", 0), found.get("facebook / social", 0)
        if paid + social:
            self.report.write_split(paid / (paid + social), first="paid", second="social")
        self.report.write(f"{paid:,} sign-ups came from ads, {social:,} from posts")
        tallies = self.expected.signups_by_source_medium
        self.check(
            "sign-ups", found=found, sent={key: each.events for key, each in tallies.items()}
        )

    async def ask_devices(self) -> None:
        self.report.write_title("On which devices do people buy?")
        question = {**self.window, "event": PURCHASE, "group_by": ["device_type"]}
        result = await self.ask(Rows[StatsRow], "stats", question)
        found = {row.device_type or "": row.value for row in result.rows}
        largest = max(found.values(), default=0)
        bars = [(name, value, draw_bar(value, largest=largest)) for name, value in found.items()]
        self.report.write_table(["Device", "Purchases", ""], bars)
        tallies = self.expected.purchases_by_device
        sent = {key: tally.events for key, tally in tallies.items()}
        self.check("purchases", found=found, sent=sent)

    def select_events(self, user_id: str, *, limit: int) -> dict[str, object]:
        """Return the arguments of ``raw_events`` for one user's events."""
        fields = list(EventSummary.model_fields)
        return {**self.window, "user_id": user_id, "fields": fields, "limit": limit}

    async def ask_events(
        self, user_id: str, *, sent: Sequence[GeneratedEvent], with_times: bool = True
    ) -> None:
        """Ask for a user's events; ``sent`` is oldest first."""
        question = self.select_events(user_id, limit=len(sent) + 1)
        rows = (await self.ask(Rows[EventSummary], "raw_events", question)).rows
        if rows:
            self.report.write_table(
                ["Time (UTC)", "Event", "Page", "From"],
                [
                    (
                        row.timestamp[5:16].replace("T", " "),
                        row.event_name,
                        cut(row.path, 22),
                        f"{cut(row.source, 13)} / {row.medium}",
                    )
                    for row in rows
                ],
            )
        else:
            self.report.write(f"{user_id} has no events")
        found: dict[str, object] = {"number of events": len(rows)}
        expected: dict[str, object] = {"number of events": len(sent)}
        for number, (row, event) in enumerate(zip(rows, reversed(sent), strict=False), start=1):
            values = _list_expected(event)
            if not with_times:
                del values["timestamp"]
            for column, value in values.items():
                expected[f"{column} of event {number}"] = value
                found[f"{column} of event {number}"] = getattr(row, column)
        self.check(user_id, found=found, sent=expected)


def _list_expected(event: GeneratedEvent) -> dict[str, str]:
    return {
        "timestamp": write_time(event.timestamp_ms),
        "event_name": event.event,
        "source": event.attribution.source,
        "medium": event.attribution.medium,
        "source_rule_id": event.attribution.rule_id,
    }
