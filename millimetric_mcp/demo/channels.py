"""Where the shop's visits come from, and what a right attribution says of each.

The expectation is written beside the link, by hand from the contract's rules: it is the
truth the walk-through checks the API against, so nothing here asks a classifier.
"""

from dataclasses import KW_ONLY, dataclass, field
from datetime import date
from enum import Enum
from random import Random
from typing import NamedTuple

from millimetric_mcp.contract.attribution import Attribution, Confidence
from millimetric_mcp.demo.chance import Weighted, make_token
from millimetric_mcp.demo.devices import ANY_DEVICE, PHONE_FIRST, Device
from millimetric_mcp.demo.shop import (
    LANDS_ANYWHERE,
    LANDS_ON_HOME,
    LANDS_ON_JOURNAL,
    LANDS_ON_PRODUCTS,
    LANDS_ON_SHELVES,
    Page,
)

DIRECT = Attribution("direct", "direct", None, Confidence.HIGH, "direct")
INTERNAL = Attribution("internal", "direct", None, Confidence.HIGH, "ref_internal")

TUESDAY, THURSDAY = 1, 3
MAILING_BOOST = 5.0
PAID_SOCIAL_SIGNUP, SOCIAL_SIGNUP, SEARCH_SIGNUP, USUAL_SIGNUP = 0.035, 0.085, 0.055, 0.05


class Token(Enum):
    """What a link holds that differs from click to click: its placeholder in the tables."""

    FBCLID = "{fbclid}"
    GCLID = "{gclid}"
    CLICK_ID = "{click_id}"
    SHORT_LINK = "{short_link}"
    WEEK = "{week}"


class Arrival(NamedTuple):
    """How somebody came to a page: its full URL, the referrer (None: none), and the truth."""

    page: Page
    url: str
    referrer: str | None
    attribution: Attribution


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to the shop.

    ``fresh`` and ``again`` weigh the visits of new and of known visitors; ``query`` and
    ``referrer`` hold placeholders of `Token`; ``mailed`` channels peak on mailing days.
    """

    expects: Attribution
    _: KW_ONLY
    fresh: float
    again: float
    query: str = ""
    referrer: str | None = None
    lands: Weighted[Page] = LANDS_ANYWHERE
    devices: Weighted[Device] = ANY_DEVICE
    signup_rate: float = USUAL_SIGNUP
    mailed: bool = False
    tokens: tuple[Token, ...] = field(init=False)

    def __post_init__(self) -> None:
        text = f"{self.query} {self.referrer} {self.expects.campaign}"
        found = tuple(token for token in Token if token.value in text)
        object.__setattr__(self, "tokens", found)

    def land(self, rng: Random, day: date) -> Arrival:
        """One click through this channel."""
        page = self.lands.pick(rng)
        query, referrer, campaign = self.query, self.referrer, self.expects.campaign
        for token in self.tokens:
            made = _MAKERS[token](rng, day)
            query = query.replace(token.value, made)
            referrer = referrer and referrer.replace(token.value, made)
            campaign = campaign and campaign.replace(token.value, made)
        expects = (
            self.expects
            if campaign == self.expects.campaign
            else self.expects._replace(campaign=campaign)
        )
        return Arrival(page, f"{page.url}?{query}" if query else page.url, referrer, expects)


def _make_fbclid(rng: Random, _day: date) -> str:
    return f"IwY2xjaw{make_token(rng, 62)}_aem_{make_token(rng, 22)}"


def _make_gclid(rng: Random, _day: date) -> str:
    return f"Cj0KCQjw{make_token(rng, 76)}_wcB"


def _make_click_id(rng: Random, _day: date) -> str:
    return f"{rng.getrandbits(128):032x}"


def _make_short_link(rng: Random, _day: date) -> str:
    return make_token(rng, 10).replace("-", "x").replace("_", "Q")


def _name_week(_rng: Random, day: date) -> str:
    year, week, _ = day.isocalendar()
    return f"{year}w{week:02d}"


_MAKERS = {
    Token.FBCLID: _make_fbclid,
    Token.GCLID: _make_gclid,
    Token.CLICK_ID: _make_click_id,
    Token.SHORT_LINK: _make_short_link,
    Token.WEEK: _name_week,
}


def _high(source: str, medium: str, rule_id: str, campaign: str | None = None) -> Attribution:
    return Attribution(source, medium, campaign, Confidence.HIGH, rule_id)


def _medium(source: str, medium: str, rule_id: str, campaign: str | None = None) -> Attribution:
    return Attribution(source, medium, campaign, Confidence.MEDIUM, rule_id)


_FACEBOOK_UTM = "utm_source=facebook&utm_medium=paid_social&utm_campaign="


def _facebook_ad(
    *, fresh: float, again: float, rule_id: str, query: str, campaign: str | None, referrer: str
) -> Channel:
    certain = rule_id != "fbclid_only"
    return Channel(
        (_high if certain else _medium)("facebook", "paid", rule_id, campaign),
        fresh=fresh,
        again=again,
        query=query,
        referrer=referrer or None,
        lands=LANDS_ON_SHELVES,
        devices=PHONE_FIRST,
        signup_rate=PAID_SOCIAL_SIGNUP,
    )


def _referral(
    expects: Attribution,
    referrer: str,
    *,
    fresh: float,
    again: float,
    lands: Weighted[Page] = LANDS_ON_JOURNAL,
) -> Channel:
    return Channel(expects, fresh=fresh, again=again, referrer=referrer, lands=lands)


def _social(
    network: str, referrer: str, *, fresh: float, again: float, rule_id: str = "ref_social"
) -> Channel:
    return Channel(
        _medium(network, "social", rule_id),
        fresh=fresh,
        again=again,
        referrer=referrer,
        lands=LANDS_ON_JOURNAL,
        devices=PHONE_FIRST,
        signup_rate=SOCIAL_SIGNUP,
    )


def _search(engine: str, referrer: str, *, fresh: float, again: float) -> Channel:
    return Channel(
        _medium(engine, "organic", "ref_search"),
        fresh=fresh,
        again=again,
        referrer=referrer,
        signup_rate=SEARCH_SIGNUP,
    )


FACEBOOK = (
    _facebook_ad(
        fresh=5.0,
        again=1.0,
        rule_id="fb_ad_redirect",
        query=_FACEBOOK_UTM + "prospecting_lookalike&utm_content=video_roastery&fbclid={fbclid}",
        campaign="prospecting_lookalike",
        referrer="https://l.facebook.com/",
    ),
    _facebook_ad(
        fresh=3.4,
        again=0.8,
        rule_id="fb_ad_redirect",
        query=_FACEBOOK_UTM + "prospecting_lookalike&utm_content=carousel_origins&fbclid={fbclid}",
        campaign="prospecting_lookalike",
        referrer="https://lm.facebook.com/",
    ),
    _facebook_ad(
        fresh=0.8,
        again=3.4,
        rule_id="fb_ad_redirect",
        query=_FACEBOOK_UTM + "retargeting_30d&utm_content=basket&fbclid={fbclid}",
        campaign="retargeting_30d",
        referrer="https://l.facebook.com/",
    ),
    _facebook_ad(
        fresh=1.2,
        again=0.3,
        rule_id="fb_ad_redirect",
        query="fbclid={fbclid}",
        campaign=None,
        referrer="https://l.facebook.com/",
    ),
    _facebook_ad(
        fresh=1.4,
        again=0.5,
        rule_id="fbclid_utm",
        query=_FACEBOOK_UTM + "gift_boxes&fbclid={fbclid}",
        campaign="gift_boxes",
        referrer="",
    ),
    _facebook_ad(
        fresh=0.9,
        again=0.3,
        rule_id="fbclid_only",
        query="fbclid={fbclid}",
        campaign=None,
        referrer="",
    ),
    _social("facebook", "https://www.facebook.com/", fresh=2.6, again=1.2, rule_id="ref_facebook"),
    _social("facebook", "https://m.facebook.com/", fresh=2.4, again=1.0, rule_id="ref_facebook"),
    _social("facebook", "https://l.facebook.com/", fresh=1.1, again=0.4, rule_id="ref_facebook"),
)
"""Facebook's three faces: ads (tagged or not), the app that hides its referrer, and posts."""

INSTAGRAM = (
    Channel(
        _high("instagram", "paid", "utm_paid_instagram", "stories_autumn_box"),
        fresh=3.2,
        again=0.9,
        query="utm_source=instagram&utm_medium=paid_social&utm_campaign=stories_autumn_box",
        referrer="https://l.instagram.com/",
        lands=LANDS_ON_PRODUCTS,
        devices=PHONE_FIRST,
        signup_rate=PAID_SOCIAL_SIGNUP,
    ),
    Channel(
        _high("instagram", "paid", "fbclid_utm", "creator_reels"),
        fresh=1.2,
        again=0.3,
        query="utm_source=ig&utm_medium=social&utm_campaign=creator_reels&fbclid={fbclid}",
        referrer="https://l.instagram.com/",
        lands=LANDS_ON_PRODUCTS,
        devices=PHONE_FIRST,
        signup_rate=PAID_SOCIAL_SIGNUP,
    ),
    _social(
        "instagram", "https://www.instagram.com/", fresh=1.6, again=1.0, rule_id="ref_instagram"
    ),
)

SEARCH = (
    Channel(
        _high("google", "paid", "gclid"),
        fresh=4.2,
        again=1.2,
        query="gad_source=1&gclid={gclid}",
        referrer="https://www.google.com/",
        lands=LANDS_ON_PRODUCTS,
        signup_rate=SEARCH_SIGNUP,
    ),
    Channel(
        _high("google", "paid", "gclid", "brand_search"),
        fresh=1.8,
        again=2.4,
        query="utm_source=google&utm_medium=cpc&utm_campaign=brand_search&gclid={gclid}",
        referrer="https://www.google.de/",
        lands=LANDS_ON_HOME,
        signup_rate=SEARCH_SIGNUP,
    ),
    Channel(
        _high("google", "paid", "gbraid"),
        fresh=0.9,
        again=0.2,
        query="gad_source=1&gbraid=0AAAAAo{click_id}",
        referrer="https://www.google.com/",
        lands=LANDS_ON_PRODUCTS,
        devices=PHONE_FIRST,
    ),
    Channel(
        _high("bing", "paid", "msclkid", "shopping_all"),
        fresh=0.8,
        again=0.3,
        query="utm_campaign=shopping_all&msclkid={click_id}",
        referrer="https://www.bing.com/",
        lands=LANDS_ON_PRODUCTS,
    ),
    _search("google", "https://www.google.com/", fresh=12, again=5),
    _search("google", "https://www.google.de/", fresh=5, again=2),
    _search("google", "https://www.google.co.uk/", fresh=2.4, again=1),
    _search(
        "google", "android-app://com.google.android.googlequicksearchbox/", fresh=0.9, again=0.4
    ),
    _search("bing", "https://www.bing.com/", fresh=2, again=0.9),
    _search("duckduckgo", "https://duckduckgo.com/", fresh=1.4, again=0.8),
    _search("ecosia", "https://www.ecosia.org/", fresh=0.6, again=0.3),
    _search("yahoo", "https://search.yahoo.com/", fresh=0.5, again=0.2),
)

MAIL = (
    Channel(
        _high("newsletter", "email", "utm_explicit", "weekly_{week}"),
        fresh=1.0,
        again=9.0,
        query="utm_source=newsletter&utm_medium=email&utm_campaign=weekly_{week}",
        referrer=None,
        lands=LANDS_ON_PRODUCTS,
        mailed=True,
    ),
    Channel(
        _high("newsletter", "email", "utm_explicit", "welcome_series"),
        fresh=0.3,
        again=2.0,
        query="utm_source=newsletter&utm_medium=email&utm_campaign=welcome_series",
        referrer="https://mail.google.com/",
        lands=LANDS_ON_HOME,
    ),
    Channel(
        _medium("email", "email", "ref_email"),
        fresh=0.5,
        again=1.4,
        referrer="https://mail.google.com/",
        lands=LANDS_ON_HOME,
    ),
    Channel(
        _medium("email", "email", "ref_email"),
        fresh=0.3,
        again=0.6,
        referrer="https://outlook.live.com/",
        lands=LANDS_ON_HOME,
    ),
)

NETWORKS = (
    Channel(
        _high("tiktok", "paid", "ttclid", "barista_challenge"),
        fresh=1.6,
        again=0.2,
        query="utm_source=tiktok&utm_medium=cpm&utm_campaign=barista_challenge&ttclid={click_id}",
        referrer="https://www.tiktok.com/",
        lands=LANDS_ON_SHELVES,
        devices=PHONE_FIRST,
        signup_rate=PAID_SOCIAL_SIGNUP,
    ),
    Channel(
        _high("linkedin", "paid", "li_fat_id", "office_coffee"),
        fresh=0.4,
        again=0.2,
        query="utm_campaign=office_coffee&li_fat_id={click_id}",
        referrer="https://www.linkedin.com/",
    ),
    Channel(
        _high("criteo", "paid", "utm_paid", "dynamic_retargeting"),
        fresh=0.3,
        again=2.2,
        query="utm_source=criteo&utm_medium=display&utm_campaign=dynamic_retargeting",
        referrer=None,
        lands=LANDS_ON_PRODUCTS,
    ),
    _social("tiktok", "https://www.tiktok.com/", fresh=0.7, again=0.2),
    _social("twitter", "https://t.co/{short_link}", fresh=1.4, again=0.6),
    _social("linkedin", "https://www.linkedin.com/", fresh=0.5, again=0.2),
    _social("reddit", "https://www.reddit.com/", fresh=1.6, again=0.6),
    _social("youtube", "https://www.youtube.com/", fresh=0.9, again=0.3),
    _social("pinterest", "https://www.pinterest.com/", fresh=1.1, again=0.5),
)

REFERRALS = (
    Channel(
        _high("chatgpt.com", "unknown", "utm_explicit"),
        fresh=0.9,
        again=0.2,
        query="utm_source=chatgpt.com",
        referrer="https://chatgpt.com/",
        lands=LANDS_ON_JOURNAL,
    ),
    Channel(
        _high("awin", "affiliate", "utm_explicit", "partner_{week}"),
        fresh=0.8,
        again=0.4,
        query="utm_source=awin&utm_medium=affiliate&utm_campaign=partner_{week}",
        referrer="https://deals.coupon-corner.example/coffee",
        lands=LANDS_ON_PRODUCTS,
    ),
    _referral(
        _medium("chatgpt", "referral", "ref_ai"), "https://chatgpt.com/", fresh=1.2, again=0.3
    ),
    _referral(
        _medium("perplexity", "referral", "ref_ai"),
        "https://www.perplexity.ai/",
        fresh=0.7,
        again=0.2,
    ),
    _referral(
        Attribution("bean-journal.example", "referral", None, Confidence.LOW, "ref_other"),
        "https://www.bean-journal.example/best-roasters/",
        fresh=1.4,
        again=0.4,
    ),
    _referral(
        Attribution("third-wave-diary.example", "referral", None, Confidence.LOW, "ref_other"),
        "https://blog.third-wave-diary.example/",
        fresh=0.9,
        again=0.3,
    ),
)

WALK_IN = Channel(DIRECT, fresh=13, again=26, lands=LANDS_ON_HOME)

CHANNELS = (*FACEBOOK, *INSTAGRAM, *SEARCH, *MAIL, *NETWORKS, *REFERRALS, WALK_IN)


def mix_channels(*, known: bool, weekday: int) -> Weighted[Channel]:
    """The channels of one weekday (Monday is 0), for new or for known visitors."""
    return Weighted(
        [
            (channel, (channel.again if known else channel.fresh) * _boost(channel, weekday))
            for channel in CHANNELS
        ]
    )


def _boost(channel: Channel, weekday: int) -> float:
    return MAILING_BOOST if channel.mailed and weekday in {TUESDAY, THURSDAY} else 1.0
