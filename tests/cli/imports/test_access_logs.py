"""Access logs: which lines become page views, and what is left out."""

import gzip

import pytest

from millimetric_mcp.errors import ImportFailed

SITE = "https://shop.example"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def line(
    target="/a?utm_source=x",
    *,
    method="GET",
    status=200,
    referrer="https://l.facebook.com/",
    agent=FIREFOX,
    host="",
    tail="",
):
    return (
        f"{host}203.0.113.7 - - [16/May/2026:19:00:00 +0200] "
        f'"{method} {target} HTTP/1.1" {status} 512 "{referrer}" "{agent}"{tail}\n'
    )


def test_a_line_of_the_combined_format_becomes_a_page_view(read):
    found = read(line(), site=SITE)

    assert found.formats == ["combined"]
    assert found.events == [
        {
            "event": "$pageview",
            "timestamp": "2026-05-16T19:00:00+02:00",
            "ip": "203.0.113.7",
            "url": "https://shop.example/a?utm_source=x",
            "user_agent": FIREFOX,
            "referrer": "https://l.facebook.com/",
        }
    ]


def test_a_line_of_the_common_format_has_no_referrer_and_no_user_agent(read):
    common = '2001:db8::1 - frank [10/Oct/2000:13:55:36 -0700] "GET /index.html HTTP/1.0" 200 2326'

    [event] = read(common, site=SITE).events

    assert event["ip"] == "2001:db8::1"
    assert event["timestamp"] == "2000-10-10T13:55:36-07:00"
    assert not event.keys() & {"referrer", "user_agent"}


def test_a_host_in_front_of_the_line_names_the_site(read):
    [event] = read(line(host="www.shop.example:443 ")).events

    assert event["url"] == "https://www.shop.example/a?utm_source=x"


@pytest.mark.parametrize(
    ("client", "ip", "site"),
    [
        ("dsl-7.isp.example", "dsl-7.isp.example", "https://shop.example"),
        ("www.shop.example:443 dsl-7.isp.example", "dsl-7.isp.example", "https://www.shop.example"),
        ("www.shop.example dsl-7.isp.example", "dsl-7.isp.example", "https://www.shop.example"),
        ("x" * 80, "x" * 64, "https://shop.example"),
    ],
)
def test_the_name_of_a_visitors_host_stands_for_its_address(read, client, ip, site):
    options = {"site": SITE} if site == SITE else {}

    [event] = read(line().replace("203.0.113.7", client), **options).events

    assert (event["ip"], event["url"]) == (ip, f"{site}/a?utm_source=x")


def test_the_site_of_the_options_counts_before_that_of_the_file(read):
    [event] = read(line(host="origin.internal:80 "), site=SITE).events

    assert event["url"].startswith("https://shop.example/")


def test_a_log_that_names_no_site_needs_one(read):
    with pytest.raises(ImportFailed, match="Add --site https://YOUR-SITE"):
        read(line())


def test_fields_after_the_user_agent_and_names_of_users_are_ignored(read):
    text = line(tail=' "198.51.100.4" 0.003').replace(" - - [", ' - "a b" [')

    assert len(read(text, site=SITE).events) == 1


def test_escaped_quotes_and_bytes_are_written_back(read):
    text = line("/caf\\xC3\\xA9", agent='Mozilla/5.0 \\"quoted\\"', referrer="-")

    [event] = read(text, site=SITE).events

    assert event["url"] == "https://shop.example/café"
    assert event["user_agent"] == 'Mozilla/5.0 "quoted"'
    assert "referrer" not in event


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (line(agent=BOT), "bots"),
        (line("/static/app.js?v=3"), "assets"),
        (line("/favicon.ico"), "assets"),
        (line("/robots.txt"), "assets"),
        (line(status=404), "errors"),
        (line(status=500), "errors"),
        (line(status=302), "redirects"),
        (line(method="POST"), "other methods than GET"),
        (line(method="HEAD"), "other methods than GET"),
    ],
)
def test_a_request_is_left_out_of_an_access_log_with_its_group(read, text, why):
    found = read(text, site=SITE)

    assert (found.events, found.left_out) == ([], {why: 1})


@pytest.mark.parametrize("request_line", [r"\x16\x03\x01", "", "-", "MGLNDD_203.0.113.7_443"])
def test_a_request_that_the_server_could_not_read_is_an_error(read, request_line):
    text = f'203.0.113.7 - - [16/May/2026:19:00:00 +0200] "{request_line}" 400 150 "-" "-"\n'

    found = read(line() + text, site=SITE)

    assert (len(found.events), found.left_out, found.rejected) == (1, {"errors": 1}, [])


@pytest.mark.parametrize(
    "time", ["1779000000.25", "1779000000250", "1779000000250.5", '"2026/05/17 06:40:00.250"']
)
def test_caddys_times_are_read_in_its_other_forms(read, time):
    entry = (
        f'{{"ts": {time}, "request": {{"client_ip": "203.0.113.7", "method": "GET", '
        '"host": "shop.example", "uri": "/a", "headers": {}}, "status": 200}'
    )

    [event] = read(entry).events

    assert event["timestamp"].startswith("2026-05-17T06:40:00.25")


def test_a_page_from_the_browsers_cache_counts(read):
    assert len(read(line(status=304), site=SITE).events) == 1


def test_bots_and_assets_are_kept_on_demand(read):
    text = line(agent=BOT) + line("/logo.png")

    found = read(text, site=SITE, keeps_bots=True, keeps_assets=True)

    assert len(found.events) == 2


def test_a_broken_line_is_rejected_by_its_number_and_the_others_are_read(read):
    found = read(line() + "\n" + "broken\n" + line(), site=SITE)

    assert len(found.events) == 2
    assert found.rejected == [(3, "is not a line of a combined or common log")]


def test_a_url_above_the_limit_is_rejected_with_the_field(read):
    found = read(line() + line("/" + "a" * 2048), site=SITE)

    assert len(found.events) == 1
    [(place, reason)] = found.rejected
    assert place == 2
    assert reason.startswith("url: ")


def test_a_time_in_the_future_is_rejected(read):
    found = read(line().replace("2026", "2999"), site=SITE)

    assert found.rejected == [(1, "timestamp: must be between 1970 and 24 hours from now")]


def test_a_gzip_file_is_inflated(read):
    found = read(gzip.compress(line().encode() * 3), "access.log.gz", site=SITE)

    assert len(found.events) == 3


def test_a_gzip_file_that_was_cut_is_an_error(read):
    cut = gzip.compress(b"".join(line(f"/{i}").encode() for i in range(50_000)))[:-4000]

    with pytest.raises(ImportFailed, match="broken archive"):
        read(cut, "access.log.gz", site=SITE)


def test_a_gzip_file_with_a_wrong_byte_is_an_error(read):
    content = bytearray(gzip.compress(line().encode()))
    content[10] = 0xFF  # a block of a kind that does not exist

    with pytest.raises(ImportFailed, match="broken archive"):
        read(bytes(content), "access.log.gz", site=SITE)


def test_a_log_with_a_byte_order_mark_is_read_from_its_first_line(read):
    assert len(read("\ufeff" + line(), site=SITE).events) == 1


def test_invalid_utf8_does_not_end_the_import(read):
    found = read(line("/\xff").encode("latin-1") + line().encode(), site=SITE)

    assert len(found.events) == 2


def test_caddys_log_is_read(read):
    entry = (
        '{"level":"info","ts":1779000000.25,"logger":"http.log.access","msg":"handled request",'
        '"request":{"remote_ip":"10.0.0.1","client_ip":"203.0.113.7","proto":"HTTP/2.0",'
        '"method":"GET","host":"shop.example","uri":"/a?gclid=1",'
        f'"headers":{{"User-Agent":["{FIREFOX}"],"Referer":["https://www.google.com/"]}}}},'
        '"status":200}\n'
    )

    found = read(entry + "{broken\n")

    assert found.formats == ["caddy"]
    assert found.events == [
        {
            "event": "$pageview",
            "timestamp": "2026-05-17T06:40:00.250+00:00",
            "ip": "203.0.113.7",
            "url": "https://shop.example/a?gclid=1",
            "user_agent": FIREFOX,
            "referrer": "https://www.google.com/",
        }
    ]
    assert found.rejected == [(2, "is not an entry of Caddy's access log")]


# The fields of CloudFront's reference of standard logs, up to cs-protocol.
CLOUDFRONT = (
    "#Version: 1.0\n"
    "#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status "
    "cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id "
    "x-host-header cs-protocol\n"
)


def test_cloudfronts_log_is_read(read):
    agent = FIREFOX.replace(" ", "%2520")
    values = (
        f"2026-05-16\t19:00:00\tFRA2\t99\t203.0.113.7\tGET\td1.cloudfront.net\t/a\t200\t-\t{agent}"
        "\tutm_source=x\t-\tHit\tid\tshop.example\thttps\n"
    )

    found = read(CLOUDFRONT + values)

    assert found.formats == ["cloudfront"]
    assert found.events == [
        {
            "event": "$pageview",
            "timestamp": "2026-05-16T19:00:00Z",
            "ip": "203.0.113.7",
            "url": "https://shop.example/a?utm_source=x",
            "user_agent": FIREFOX,
        }
    ]
