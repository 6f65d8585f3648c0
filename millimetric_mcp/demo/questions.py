"""What the demo asks through the MCP tools: each result is shown and checked."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mcp import Client, MCPError
from mcp_types import TextContent

from millimetric_mcp.contract.reads import MAX_SOURCES_LIMIT, MAX_STATS_LIMIT, SourceRow
from millimetric_mcp.demo.batches import write_time
from millimetric_mcp.demo.checks import (
    PROVEN,
    UNPROVEN,
    Checks,
    ExpectedCounts,
    Values,
    compare,
)
from millimetric_mcp.demo.generator import (
    ADD_TO_CART,
    PAGEVIEW,
    PURCHASE,
    SIGNUP,
    GeneratedEvent,
)
from millimetric_mcp.demo.people import FUNNEL, PRODUCT_PATH
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
        self, expected: ExpectedCounts, group: str, **filters: object
    ) -> list[SourceRow]:
        """Ask for events, visitors and paid share by source; return the checked rows."""
        question = {**self.window, **filters, "limit": MAX_SOURCES_LIMIT}
        result = await self.ask("top_sources", question)
        return self._check_sources(result, expected, group)

    def _check_sources(
        self, result: Mapping[str, Any], expected: ExpectedCounts, group: str
    ) -> list[SourceRow]:
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
        filters = {"filters": {"event": PAGEVIEW}}
        rows = await self.ask_sources(self.expected, "page views by source and medium", **filters)
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
        result = await self.ask(
            "top_sources", {**self.window, **filters, "limit": MAX_SOURCES_LIMIT}
        )
        for row in self._check_sources(result, self.expected, "facebook"):
            self.report.write_split(row.paid_share, first="paid", second="social")
            paid = round(row.events * row.paid_share)
            self.report.write(f"{paid:,} of {row.events:,} events count as paid")
        proof = result["splits"][-1]
        kinds, numbers = (PROVEN, UNPROVEN), map(int, re.findall(r"\d+", proof))
        sent = self.expected.get("facebook's paid events by proof", "events")
        self.check(
            "proof of an ad",
            found=dict(zip(kinds, numbers, strict=False)),
            sent={kind: sent.get(kind, 0) for kind in kinds},
        )
        self.report.write(proof)

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
        grouping = {"group_by": ["source", "medium"], "attribution": "last_touch"}
        result = await self.ask(
            "stats", {**self.window, "event": SIGNUP, **grouping, "limit": MAX_STATS_LIMIT}
        )
        found = {f"{row['source']} / {row['medium']}": row["value"] for row in result["rows"]}
        self.check("sign-ups", found=found, sent=dict(self.expected.people.signups))
        paid, social = found.get("facebook / paid", 0), found.get("facebook / social", 0)
        if paid + social:
            self.report.write_split(paid / (paid + social), first="paid", second="social")
        self.report.write(f"{paid:,} sign-ups count for ads, {social:,} for posts")

    async def ask_devices(self) -> None:
        self.report.write_title("On which devices do people fill their carts?")
        question = {**self.window, "event": ADD_TO_CART, "group_by": ["device_type"]}
        rows = (await self.ask("stats", question))["rows"]
        found = {row["device_type"]: row["value"] for row in rows}
        sent = self.expected.get("carts by device", "events")
        self.check("products in carts", found=found, sent=sent)
        self._draw("Device", "Products", found)

    async def ask_revenue(self) -> None:
        self.report.write_title("Which channel brought the revenue?")
        money = {"metric": "sum", "property": "amount_cents", "group_by": ["channel"]}
        result = await self.ask(
            "stats", {**self.window, "event": PURCHASE, **money, "attribution": "last_touch"}
        )
        found = {row["channel"]: row["value"] for row in result["rows"]}
        self.check("revenue in cents", found=found, sent=dict(self.expected.people.revenue))
        self._draw("Channel", "Euros", {name: round(cents / 100) for name, cents in found.items()})

    async def ask_funnel(self) -> None:
        self.report.write_title("Where do people drop out?")
        view = {"event": PAGEVIEW, "path[prefix]": PRODUCT_PATH}
        steps = [view, *({"event": name} for name in FUNNEL[1:])]
        result = await self.ask("funnel", {**self.window, "steps": steps, "within": "7d"})
        found = {f"step {row['step']}": row["people"] for row in result["rows"]}
        counts = self.expected.people.count_steps()
        sent = {f"step {number}": people for number, people in enumerate(counts, 1)}
        self.check("people", found=found, sent=sent)
        names = ("product page", "cart", "purchase")
        self._draw("Step", "People", dict(zip(names, found.values(), strict=False)))

    async def ask_retention(self) -> None:
        self.report.write_title("Do people come back?")
        result = await self.ask("retention", {**self.window, "event": PAGEVIEW, "interval": "week"})
        rows = result["rows"]
        found = {
            (row["cohort"][:10], later): people
            for row in rows
            for later, people in enumerate(row["returned"])
            if people
        }
        sent = self.expected.people.count_returns()
        self.check(
            "people who came back",
            found={f"{monday}, week {later}": n for (monday, later), n in found.items()},
            sent={f"{monday}, week {later}": n for (monday, later), n in sent.items()},
        )
        weeks = range(max((len(row["returned"]) for row in rows), default=0))
        self.report.write_table(
            ["Week of", "People", *(f"+{week}" for week in weeks)],
            [
                (row["cohort"][:10], row["people"], *(_share(row, week) for week in weeks))
                for row in rows
            ],
        )

    def _draw(self, what: str, unit: str, values: Mapping[str, int]) -> None:
        largest = max(values.values(), default=0)
        bars = [(name, value, draw_bar(value, largest=largest)) for name, value in values.items()]
        self.report.write_table([what, unit, ""], bars)

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


def _share(row: Mapping[str, Any], week: int) -> str:
    returned = row["returned"]
    return f"{returned[week] / row['people']:.0%}" if week < len(returned) else ""


def _describe(event: GeneratedEvent) -> dict[str, str | None]:
    return {
        "timestamp": write_time(event.timestamp_ms),
        "event_name": event.event,
        "path": urlsplit(event.url).path or None,
        "source": event.attribution.source,
        "medium": event.attribution.medium,
        "source_rule_id": event.attribution.rule_id,
    }
