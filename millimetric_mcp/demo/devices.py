"""The shop's visitors' devices: real User-Agent strings and what each of them is."""

from dataclasses import KW_ONLY, dataclass

from millimetric_mcp.demo.chance import Weighted


@dataclass(frozen=True, slots=True, eq=False)
class Device:
    """A User-Agent, the screen it comes with, and its place in the contract's vocabulary.

    Compared by identity: there is one of each.
    """

    user_agent: str
    _: KW_ONLY
    screen: str
    device_type: str
    browser: str
    os: str


_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
_SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64"
_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
_IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X)"

CHROME_ANDROID = Device(
    f"Mozilla/5.0 (Linux; Android 10; K) {_WEBKIT} Chrome/140.0.0.0 Mobile Safari/537.36",
    screen="412x915",
    device_type="mobile",
    browser="chrome",
    os="android",
)
SAMSUNG_ANDROID = Device(
    f"Mozilla/5.0 (Linux; Android 13; SAMSUNG SM-S918B) {_WEBKIT} "
    "SamsungBrowser/21.0 Chrome/110.0.5481.154 Mobile Safari/537.36",
    screen="384x824",
    device_type="mobile",
    browser="",
    os="android",
)
SAFARI_IPHONE = Device(
    f"{_IPHONE} {_SAFARI} Version/18.6 Mobile/15E148 Safari/604.1",
    screen="390x844",
    device_type="mobile",
    browser="safari",
    os="ios",
)
CHROME_IPHONE = Device(
    f"{_IPHONE} {_SAFARI} CriOS/140.0.7339.122 Mobile/15E148 Safari/604.1",
    screen="393x852",
    device_type="mobile",
    browser="chrome",
    os="ios",
)
SAFARI_IPAD = Device(
    f"Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) {_SAFARI} "
    "Version/17.5 Mobile/15E148 Safari/604.1",
    screen="820x1180",
    device_type="tablet",
    browser="safari",
    os="ios",
)
CHROME_TABLET = Device(
    f"Mozilla/5.0 (Linux; Android 13; SM-X710) {_WEBKIT} Chrome/126.0.0.0 Safari/537.36",
    screen="800x1280",
    device_type="tablet",
    browser="chrome",
    os="android",
)
CHROME_WINDOWS = Device(
    f"{_WINDOWS}) {_WEBKIT} Chrome/140.0.0.0 Safari/537.36",
    screen="1920x1080",
    device_type="desktop",
    browser="chrome",
    os="windows",
)
EDGE_WINDOWS = Device(
    f"{_WINDOWS}) {_WEBKIT} Chrome/139.0.0.0 Safari/537.36 Edg/139.0.0.0",
    screen="1536x864",
    device_type="desktop",
    browser="edge",
    os="windows",
)
FIREFOX_WINDOWS = Device(
    f"{_WINDOWS}; rv:142.0) Gecko/20100101 Firefox/142.0",
    screen="1920x1080",
    device_type="desktop",
    browser="firefox",
    os="windows",
)
OPERA_WINDOWS = Device(
    f"{_WINDOWS}) {_WEBKIT} Chrome/123.0.0.0 Safari/537.36 OPR/109.0.0.0",
    screen="1920x1080",
    device_type="desktop",
    browser="opera",
    os="windows",
)
SAFARI_MAC = Device(
    f"{_MAC} {_SAFARI} Version/17.5 Safari/605.1.15",
    screen="1440x900",
    device_type="desktop",
    browser="safari",
    os="macos",
)
CHROME_MAC = Device(
    f"{_MAC} {_WEBKIT} Chrome/140.0.0.0 Safari/537.36",
    screen="1728x1117",
    device_type="desktop",
    browser="chrome",
    os="macos",
)
FIREFOX_LINUX = Device(
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0",
    screen="2560x1440",
    device_type="desktop",
    browser="firefox",
    os="linux",
)
NO_DEVICE = Device("", screen="", device_type="", browser="", os="")
"""What a call made by a program counts as."""

ANY_DEVICE = Weighted(
    [
        (CHROME_ANDROID, 26),
        (SAMSUNG_ANDROID, 3),
        (SAFARI_IPHONE, 22),
        (CHROME_IPHONE, 2),
        (SAFARI_IPAD, 2),
        (CHROME_TABLET, 1),
        (CHROME_WINDOWS, 20),
        (EDGE_WINDOWS, 6),
        (FIREFOX_WINDOWS, 4),
        (OPERA_WINDOWS, 1),
        (SAFARI_MAC, 7),
        (CHROME_MAC, 4),
        (FIREFOX_LINUX, 2),
    ]
)
PHONE_FIRST = Weighted(
    [
        (CHROME_ANDROID, 38),
        (SAMSUNG_ANDROID, 5),
        (SAFARI_IPHONE, 40),
        (CHROME_IPHONE, 3),
        (SAFARI_IPAD, 3),
        (CHROME_WINDOWS, 8),
        (SAFARI_MAC, 3),
    ]
)
"""The audience of feeds and stories."""
