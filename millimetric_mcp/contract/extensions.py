"""Which parameters of a read go beyond the hosted API's, as ``applied`` echoes them."""

from typing import Any

from millimetric_mcp.contract import reads
from millimetric_mcp.contract.attribution import AttributionModel

_HOSTED_FILTERS = {
    reads.StatsParams: frozenset({"event"}),
    reads.QueryParams: frozenset(
        {"event", "source", "medium", "country", "user_id", "anonymous_id"}
    ),
}
_HOSTED_METRICS = (reads.Metric.COUNT, reads.Metric.UNIQUES)
_HOSTED_QUESTIONS = (reads.SourcesParams, reads.StatsParams, reads.QueryParams)
"""Questions that the hosted API answers too; only this API answers all others."""


def list_extensions(params: reads.WindowParams) -> dict[str, Any] | None:
    """Return the extensions that a question uses, by parameter, as JSON; None if it uses none.

    The echo of a question that only this API answers may be empty.
    """
    asked = params.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    for name in ("from", "to", "limit", "breakdown"):
        asked.pop(name, None)
    if isinstance(params, reads.AttributedParams):
        if params.attribution is AttributionModel.EVENT:
            asked.pop("attribution", None)
            asked.pop("lookback_days", None)
        else:
            asked["lookback_days"] = params.lookback_days
    if not isinstance(params, _HOSTED_QUESTIONS):
        return asked
    if isinstance(params, reads.StatsParams):
        asked.pop("interval", None)
        if params.metric in _HOSTED_METRICS:
            asked.pop("metric", None)
        if reads.HOSTED_GROUP_COLUMNS.issuperset(params.group_by):
            asked.pop("group_by", None)
    hosted = _HOSTED_FILTERS.get(type(params), frozenset())
    filters = asked.pop("filters", {})
    filters = {name: v for name, v in filters.items() if name not in hosted or len(v) > 1}
    return (asked | ({"filters": filters} if filters else {})) or None
