"""A report as text of at most 80 columns."""

from collections.abc import Iterator, Sequence
from datetime import date

from rich.console import Console
from rich.text import Text

from millimetric_mcp.cli.report.numbers import (
    REVENUE,
    WITHIN,
    Facebook,
    Figure,
    Numbers,
    find_revenue_model,
)
from millimetric_mcp.contract.attribution import AttributionModel
from millimetric_mcp.contract.reads import FunnelRow, Number, RetentionRow
from millimetric_mcp.demo.report import Report, draw_bar, draw_columns
from millimetric_mcp.mcp.render.untrusted import abbreviate, clean

_MODELS = {
    AttributionModel.EVENT: "each event's own source",
    AttributionModel.SESSION: "the first source of the session",
    AttributionModel.FIRST_TOUCH: "the first source of the person",
    AttributionModel.LAST_TOUCH: "the last source of the person",
}
_TITLES = {
    "channels": ("Channels", "visitors"),
    "pages": ("Pages", "page views"),
    "campaigns": ("Campaigns", "visitors"),
    "countries": ("Countries", "visitors"),
    "devices": ("Devices", "visitors"),
    REVENUE: ("Revenue by channel", "sum"),
}
_MAX_NAME_CHARS = 40
_MAX_LABEL_CHARS = 34
_MAX_WEEKS = 9
_NOTHING = "Nothing in this range."


def write_report(console: Console, numbers: Numbers, *, api_url: str) -> None:
    """Write every part of the report."""
    report, shown = Report(console), numbers.range
    days = (shown.last - shown.first).days + 1
    console.print()
    console.print(Text(f"{api_url}  {_write_days(shown.first, shown.last)}, {shown.zone.key}"))
    if numbers.today and shown.today:
        until = f"{shown.today[0].end.astimezone(shown.zone):%H:%M}"
        report.write_title(f"Today, against yesterday until {until}")
        _write_figures(report, numbers.today)
    before = "the day before" if days == 1 else f"the {days} days before"
    report.write_title(f"{'The day' if days == 1 else f'{days} days'}, against {before}")
    _write_figures(report, numbers.figures)
    if numbers.bot_events is not None:
        bots = "1 event" if numbers.bot_events == 1 else f"{numbers.bot_events:,} events"
        report.write(f"Everywhere without {bots} of automated clients.")
    report.write_title("Over time")
    _write_buckets(report, numbers)
    report.write_title(f"Sources, by {_MODELS[numbers.choices.attribution]}")
    _write_sources(report, numbers)
    for name, rows in numbers.lists.items():
        title, unit = _TITLES[name]
        model = _MODELS[find_revenue_model(numbers.choices.attribution)]
        report.write_title(f"{title}, by {model}" if name == REVENUE else title)
        _write_list(report, rows, unit)
    report.write_title(f"Funnel: people who took the steps in this order, within {WITHIN}")
    _write_funnel(report, numbers.funnel)
    report.write_title("Who comes back: share of a week's new people, by weeks later")
    _write_retention(report, numbers.retention)


def _write_figures(report: Report, figures: Sequence[Figure]) -> None:
    report.write_table(
        ("", "now", "before", "change"),
        [
            (
                abbreviate(_name(figure.name), max_chars=_MAX_LABEL_CHARS),
                _number(figure.now),
                _number(figure.before),
                _write_change(figure),
            )
            for figure in figures
        ],
    )


def _write_change(figure: Figure) -> str:
    if not figure.before:
        return "–"
    grown = figure.now / figure.before - 1
    if abs(grown) < 0.005:
        return "="
    return f"{'▲' if grown > 0 else '▼'} {abs(grown):.0%}"


def _write_buckets(report: Report, numbers: Numbers) -> None:
    for name, values in (
        ("Visitors", [bucket.visitors for bucket in numbers.buckets]),
        ("Page views", [bucket.page_views for bucket in numbers.buckets]),
    ):
        columns = draw_columns([round(value) for value in values])
        top = f" up to {_number(max(values))}"
        report.write(Text.assemble(f"{name:11}", (columns, "green"), (top, "dim")))
    shown = numbers.range
    each = f"One column is {'an' if shown.interval == 'hour' else 'a'} {shown.interval}, "
    report.write(Text(each + _write_days(shown.first, shown.last) + ".", style="dim"))


def _write_sources(report: Report, numbers: Numbers) -> None:
    if not numbers.sources:
        report.write(_NOTHING)
        return
    if numbers.paid_share is not None:
        report.write_split(numbers.paid_share, first="paid", second="not paid")
        report.write("Clicks within the site are left out of this bar.")
    for sentence in _describe_facebook(numbers.facebook):
        report.write(sentence)
    report.write_table(
        ("source", "medium", "visitors", "events", "paid"),
        [
            (
                _name(row.source),
                _name(row.medium or ""),
                row.uniques,
                row.events,
                f"{row.paid_share:.0%}",
            )
            for row in numbers.sources
        ],
    )


def _describe_facebook(facebook: Facebook) -> Iterator[str]:
    if facebook.events:
        share = facebook.paid / facebook.events
        yield f"Facebook: {share:.0%} paid ({facebook.paid:,} of {facebook.events:,} events)."
    if facebook.paid and facebook.proven is not None:
        yield (
            f"A paid utm_medium proves {facebook.proven:,} of them. The others rest on fbclid, "
            "which Facebook also adds to links in posts."
        )


def _write_list(report: Report, rows: Sequence[tuple[str, Number]], unit: str) -> None:
    if not rows:
        report.write(_NOTHING)
        return
    largest = max(value for _, value in rows)
    width = max(len(_number(value)) for _, value in rows)
    for name, value in rows:
        shown = Text(_name(name or "not known"))
        shown.truncate(_MAX_NAME_CHARS, overflow="ellipsis", pad=True)
        bar = draw_bar(value, largest=largest)
        report.write(Text.assemble(shown, f" {_number(value):>{width}} ", (bar, "cyan")))
    report.write(Text(f"{unit.capitalize()}.", style="dim"))


def _write_funnel(report: Report, rows: Sequence[FunnelRow]) -> None:
    if not rows:
        report.write(_NOTHING)
        return
    report.write_table(
        ("step", "people", "of first", "of previous"),
        [
            (_name(row.event), row.people, _share(row.from_first), _share(row.from_previous))
            for row in rows
        ],
    )


def _write_retention(report: Report, rows: Sequence[RetentionRow]) -> None:
    if not rows:
        report.write(_NOTHING)
        return
    most = min(_MAX_WEEKS, max(len(row.returned) for row in rows))
    report.write_table(
        ("week of", "people", *(f"+{weeks}" for weeks in range(most))),
        [
            (row.cohort[:10], row.people, *(_write_return(row, weeks) for weeks in range(most)))
            for row in rows
        ],
    )
    report.write(Text("* This week is not over.", style="dim"))


def _write_return(row: RetentionRow, weeks: int) -> str:
    if weeks >= len(row.returned):
        return ""
    is_running = row.is_running and weeks == len(row.returned) - 1
    share = row.returned[weeks] / row.people if row.people else 0
    return f"{share:.0%}{'*' if is_running else ''}"


def _write_days(first: date, last: date) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def _name(text: str) -> str:
    """Return a name from visitors in one line, without characters that a terminal obeys."""
    return clean(text, max_chars=_MAX_NAME_CHARS)


def _number(value: Number) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
