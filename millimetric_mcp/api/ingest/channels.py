"""Channels: groups of sources and mediums, by one table. The first line that matches decides.

The groups are GA4's default ones where both have them:
support.google.com/analytics/answer/9756891
"""

from functools import cache
from typing import NamedTuple

from millimetric_mcp.api.ingest.classify import PAID_MEDIUMS, SOURCE_ALIASES
from millimetric_mcp.api.ingest.networks import Kind, list_sources
from millimetric_mcp.contract.attribution import TrafficChannel


class ChannelRule(NamedTuple):
    """A line of the table: it matches if source and medium are listed. None: any."""

    channel: TrafficChannel
    sources: frozenset[str] | None = None
    mediums: frozenset[str] | None = None


_PAID = PAID_MEDIUMS | {"paid"}
_EMAIL = frozenset({"email", "e-mail", "e_mail", "e mail", "mail", "newsletter"})
_SOCIAL = frozenset(
    {"social", "sm", "social-network", "social_network", "social network"}
    | {"social-media", "social_media", "social media"}
)


@cache
def list_channel_rules() -> tuple[ChannelRule, ...]:
    """Return the table; what no line matches is `TrafficChannel.OTHER`."""
    search, social, ai, email = (
        _with_aliases(list_sources(kind))
        for kind in (Kind.SEARCH, Kind.SOCIAL, Kind.AI, Kind.EMAIL)
    )
    return (
        ChannelRule(TrafficChannel.INTERNAL, sources=frozenset({"internal"})),
        ChannelRule(TrafficChannel.DIRECT, sources=frozenset({"direct"})),
        ChannelRule(TrafficChannel.PAID_SEARCH, search, _PAID),
        ChannelRule(TrafficChannel.PAID_SOCIAL, social, _PAID),
        ChannelRule(TrafficChannel.PAID_OTHER, mediums=_PAID),
        ChannelRule(TrafficChannel.EMAIL, mediums=_EMAIL),
        ChannelRule(TrafficChannel.SOCIAL, mediums=_SOCIAL),
        ChannelRule(TrafficChannel.ORGANIC_SEARCH, mediums=frozenset({"organic"})),
        ChannelRule(TrafficChannel.AI, sources=ai),
        ChannelRule(TrafficChannel.EMAIL, sources=email),
        ChannelRule(TrafficChannel.ORGANIC_SEARCH, sources=search),
        ChannelRule(TrafficChannel.SOCIAL, sources=social),
        ChannelRule(TrafficChannel.REFERRAL, mediums=frozenset({"referral", "link", "app"})),
    )


def _with_aliases(sources: frozenset[str]) -> frozenset[str]:
    return sources | {alias for alias, source in SOURCE_ALIASES.items() if source in sources}
