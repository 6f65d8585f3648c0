"""What the demo asks through the MCP tools: each result is shown and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mcp import Client, MCPError
from mcp_types import TextContent

from millimetric_mcp.contract.reads import MAX_SOURCES_LIMIT, MAX_STATS_LIMIT, SourceRow
from millimetric_mcp.demo.batches import write_time
from millimetric_mcp.demo.checks import Checks, ExpectedCounts, Values, compare
from millimetric_mcp.demo.generator import PURCHASE, SIGNUP, GeneratedEvent
from millimetric_mcp.demo.report import Report, draw_bar
from millimetric_mcp.errors import DemoFailed

SHOWN_SOURCES = 12
UNIQUES_TOLERANCE = 0.03
"""Numbers of visitors are estimates; they are off by at most this share."""

EVENT_FIELDS = ["timestamp", "event_name", "path", "source", "medium", "source_rule_id"]


@dataclass(frozen=True, slots=True)
class Questions:
    """Asks about the events of ``window`` and compares the results with ``expected``.

    ``checks`` collects all comparisons.
    """

    report: Report
    client: Client
    expected: ExpectedCounts
    window: Mapping[str, str]
    checks: Checks

    async def ask(self, tool: str, arguments: Values, *, is_shown: bool = True) -> dict[str, Any]:
        """Show a tool call and return its structured result.

        Raises:
            DemoFailed: the result is an error.
        """
        if is_shown:
            self.report.write_call(tool, arguments)
        try:
            result = await self.client.call_tool(tool, dict(arguments))
        except MCPError as error:
            raise DemoFailed(f"{tool} failed: {error}") from None
        if result.is_error:
            texts = [part.text for part in result.content if isinstance(part, TextContent)]
            raise DemoFailed(f"{tool} returned an error: {' '.join(texts)}")
        return dict(result.structured_content)

    def check(self, what: str, *, found: Values, sent: Values, tolerance: float = 0.0) -> None:
        """Compare a result's values with those sent, and show whether they are correct."""
        checks = compare(what, found=found, sent=sent, tolerance=tolerance)
        self.checks.correct += checks.correct
        self.checks.mismatches += checks.mismatches
        self.report.write_mismatches(checks.mismatches)
        if not checks.mismatches:
            verdict = f"correct within {tolerance:.0%}" if tolerance else "correct"
            self.report.write_done(f"{what}: {checks.correct:,} of {checks.correct:,} {verdict}")

    async def ask_sources(
        self, expected: ExpectedCounts, group: str, **filters: str
    ) -> list[SourceRow]:
        """Ask for events, visitors and paid share by source; return the checked rows."""
        question = {**self.window, **filters, "limit": MAX_SOURCES_LIMIT}
        result = await self.ask("top_sources", question)
        rows = [SourceRow.model_validate(row) for row in result["rows"]]
        keys = [" / ".join(filter(None, (row.source, row.medium))) for row in rows]
        columns = {"events": "events", "uniques": "visitors", "paid_share": "paid share"}
        for column, what in columns.items():
            found = dict(zip(keys, (getattr(row, column) for row in rows), strict=True))
            tolerance = UNIQUES_TOLERANCE if column == "uniques" else 0.0
            self.check(what, found=found, sent=expected.get(group, column), tolerance=tolerance)
        return rows

    async def ask_traffic(self) -> None:
        self.report.write_title("Where does our traffic come from?")
        rows = await self.ask_sources(self.expected, "events by source and medium")
        largest = max((row.events for row in rows), default=0)
        self.report.write_table(
            ["Source", "Medium", "Events", "", "Visitors", "Paid"],
            [
                (
                    row.source,
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

    async def ask_facebook(self) -> None:
        self.report.write_title("Is our Facebook traffic paid or organic?")
        filters = {"breakdown": "source", "source": "facebook"}
        for row in await self.ask_sources(self.expected, "facebook", **filters):
            self.report.write_split(row.paid_share, first="paid", second="social")
            paid = round(row.events * row.paid_share)
            self.report.write(f"{paid:,} of {row.events:,} events came from ads")

    async def ask_days(self, what: str, *, group: str, column: str, **filters: str) -> None:
        """Ask for ``column`` (``events`` or ``uniques``) by day and in total."""
        question = {**self.window, **filters, "interval": "day"}
        result = await self.ask("stats", {**question, "fill_empty": True})
        days = {row["bucket"][:10]: row["value"] for row in result["rows"]}
        found = {day: value for day, value in days.items() if value} | {"total": result["total"]}
        sent = self.expected.get(f"{group} by day", column) | self.expected.get(group, column)
        tolerance = UNIQUES_TOLERANCE if column == "uniques" else 0.0
        self.check(what, found=found, sent=sent, tolerance=tolerance)
        self.report.write_days(days)
        self.report.write(f"{result['total']:,} {what} in total")

    async def ask_facebook_signups(self) -> None:
        self.report.write_title("Do Facebook's ads or its posts bring the sign-ups?")
        grouping = {"group_by": ["source", "medium"], "limit": MAX_STATS_LIMIT}
        result = await self.ask("stats", {**self.window, "event": SIGNUP, **grouping})
        found = {f"{row['source']} / {row['medium']}": row["value"] for row in result["rows"]}
        sent = self.expected.get("sign-ups by source and medium", "events")
        self.check("sign-ups", found=found, sent=sent)
        paid, social = found.get("facebook / paid", 0), found.get("facebook / social", 0)
        if paid + social:
            self.report.write_split(paid / (paid + social), first="paid", second="social")
        self.report.write(f"{paid:,} sign-ups came from ads, {social:,} from posts")

    async def ask_devices(self) -> None:
        self.report.write_title("On which devices do people buy?")
        question = {**self.window, "event": PURCHASE, "group_by": ["device_type"]}
        rows = (await self.ask("stats", question))["rows"]
        found = {row["device_type"]: row["value"] for row in rows}
        sent = self.expected.get("purchases by device", "events")
        self.check("purchases", found=found, sent=sent)
        largest = max(found.values(), default=0)
        bars = [(name, value, draw_bar(value, largest=largest)) for name, value in found.items()]
        self.report.write_table(["Device", "Purchases", ""], bars)

    async def ask_events(
        self, user_id: str, *, sent: Sequence[GeneratedEvent], with_times: bool = True
    ) -> None:
        """Ask for a user's events; ``sent`` is oldest first."""
        question = {"user_id": user_id, "fields": EVENT_FIELDS, "limit": len(sent) + 1}
        rows = (await self.ask("raw_events", {**self.window, **question}))["rows"]
        if rows:
            cells = [
                (
                    row["timestamp"][5:16].replace("T", " "),
                    row["event_name"],
                    row.get("path") or "",
                    f"{row['source']} / {row['medium']}",
                )
                for row in rows
            ]
            self.report.write_table(["Time (UTC)", "Event", "Page", "From"], cells)
        else:
            self.report.write(f"{user_id} has no events")
        names = EVENT_FIELDS if with_times else EVENT_FIELDS[1:]
        found = {f"event {n}": [row.get(name) for name in names] for n, row in enumerate(rows, 1)}
        expected = {
            f"event {n}": [_describe(event)[name] for name in names]
            for n, event in enumerate(reversed(sent), 1)
        }
        self.check(f"events of {user_id}", found=found, sent=expected)


def _describe(event: GeneratedEvent) -> dict[str, str | None]:
    return {
        "timestamp": write_time(event.timestamp_ms),
        "event_name": event.event,
        "path": urlsplit(event.url).path or None,
        "source": event.attribution.source,
        "medium": event.attribution.medium,
        "source_rule_id": event.attribution.rule_id,
    }
