"""What anybody can do with the browser key of a page: bounded, and the owner goes on."""

from bench.processes import settle
from tests.torture.harness import at_most, none, run_api

NAMES = 20_000
"""The default of ``--browser-names``."""
BROWSER_MB_PER_DAY = 20
WIDEST = {"group_by": "event_name,source,medium", "metric": "uniques", "interval": "week"}


def invent(number):
    """Return an event whose event name, source and campaign are new."""
    utm = f"utm_source=s{number}&utm_medium=m&utm_campaign=c{number}"
    return {"event": f"n{number}", "url": f"https://shop.example/?{utm}"}


def flood_names(api, batches):
    """Return the status and code of each of ``batches``, which are of 1000 invented names."""
    answers = [
        api.ask(
            "POST",
            "/v1/batch",
            key="pk",
            json={"events": [invent(batch * 1000 + row) for row in range(1000)]},
        )
        for batch in batches
    ]
    return [(answer.status_code, answer.json().get("error")) for answer in answers]


def use_known_name(api):
    return api.ask("POST", "/v1/track", key="pk", json=invent(5)).status_code


def flood_bytes(api):
    """Return the code of the first refused batch of 8 MB, and how many were taken before."""
    large = [invent(1) | {"properties": {"p": "y" * 8000}}] * 1000
    for taken in range(10):
        answer = api.ask("POST", "/v1/batch", key="pk", json={"events": large})
        if answer.status_code != 202:
            return answer.json()["error"], taken
    return "", taken


def run(scale, directory):
    options = ["--browser-mb-per-day", str(BROWSER_MB_PER_DAY)]
    with run_api(directory / "data", *options) as api:
        answers = flood_names(api, range(30))
        known = [use_known_name(api)]
        code, taken = flood_bytes(api)
        owner = [api.track("sale", key="sk") for _ in range(20)]
        settle(api.process.pid)
        widest = [api.read("/v1/stats", limit=1000, **WIDEST) for _ in range(3)]
        sources = [api.read("/v1/sources", limit=200) for _ in range(3)]
    with run_api(directory / "data", *options) as api:
        answers += flood_names(api, range(30, 40))
        known.append(use_known_name(api))
        unexpected = api.count_unexpected()
    accepted = sum(status == 202 for status, _ in answers) * 1000
    wrongly = sum(answer not in {(202, None), (403, "too_many_names")} for answer in answers)
    slowest_s = max(answer.elapsed.total_seconds() for answer in [*widest, *sources])
    unanswered = sum(answer.status_code != 200 for answer in [*widest, *sources])
    return [
        at_most("invented names that a browser key brings into a project", accepted, NAMES, ""),
        none("invented names refused with another code than too_many_names", wrongly),
        none("known names refused beside them", len(known) - known.count(202)),
        at_most(
            f"batches of 8 MB taken at a bound of {BROWSER_MB_PER_DAY} MiB a day", taken, 2, ""
        ),
        none(
            "of them refused with another code than daily_limit_reached",
            int(code != "daily_limit_reached"),
        ),
        none("events of the owner's server key refused then", len(owner) - owner.count(202)),
        none("of the widest questions of the owner not answered then", unanswered),
        at_most("slowest of them", slowest_s, 5, "s"),
        none("unexpected errors of a browser key's flood", unexpected),
    ]
