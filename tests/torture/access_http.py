"""Every kind and state of key at every path, and what each project's keys see."""

import json
import time

from millimetric_mcp.contract import endpoints
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.keys import SCOPES, KeyKind, Scope
from tests.torture.access import PROJECTS, Tally, add_bad_keys, add_test_keys
from tests.torture.harness import at_least, none, run_api

ALL = (*endpoints.ENDPOINTS, endpoints.LINK)
OPEN_PATHS = (
    endpoints.HEALTH_PATH,
    endpoints.READINESS_PATH,
    endpoints.OPENAPI_PATH,
    endpoints.SCRIPT_PATH,
    endpoints.PAGE_PATH,
    *(endpoints.PAGE_FILES_PATH + name for name in endpoints.PAGE_FILES),
)
EVENTS = dict(zip(PROJECTS, (2, 3, 5), strict=True))
"""How many events each project has; each is of another visitor."""
SEEN = {
    endpoints.SOURCES: ({}, lambda rows: sum(row["events"] for row in rows)),
    endpoints.STATS: ({}, lambda rows: sum(row["value"] for row in rows)),
    endpoints.QUERY: ({}, len),
    endpoints.FUNNEL: (
        {"steps": json.dumps([{"event": "visit"}, {"event": "visit"}])},
        lambda rows: rows[0]["people"],
    ),
    endpoints.RETENTION: ({"event": "visit"}, lambda rows: sum(row["people"] for row in rows)),
    endpoints.SCHEMA: ({}, lambda rows: sum(row["events"] for row in rows)),
}
"""A question of each endpoint that reads, and how many events or visitors its answer is about."""
FORGET_TIMEOUT_S = 60
TOKEN = "a-token-of-the-metrics"


def ask(api, endpoint, key, *, query=None, **request):
    example = dict(endpoint.request_example)
    body = {"json": example, "params": query or {}}
    if endpoint.method == "GET":
        body = {"params": example | (query or {})}
    return api.ask(endpoint.method, endpoint.path, key=key, **body, **request)


def read(answer):
    """Return the status, and the code of a refusal."""
    return answer.status_code, None if answer.is_success else answer.json()["error"]


def expect(endpoint, kind):
    """Return the status and the code of the answer to a valid key."""
    if endpoint.scope in SCOPES[kind]:
        return endpoint.status, None
    if endpoint.scope is Scope.FORGET and kind is KeyKind.PK:
        return 403, ErrorCode.FORGET_REQUIRES_SECRET_KEY
    return 403, ErrorCode.INSUFFICIENT_SCOPE


def try_keys(api, tally, bad):
    """Send every key to every endpoint."""
    for endpoint in ALL:
        for kind in KeyKind:
            right = expect(endpoint, kind)
            for project in PROJECTS:
                answer = ask(api, endpoint, project + kind)
                tally.compare(f"{endpoint.path} with {project}{kind}", read(answer), right)
            foreign = ask(api, endpoint, kind, headers={"Origin": "https://evil.example"})
            if kind is KeyKind.PK and right[1] is None:
                right = 403, ErrorCode.ORIGIN_NOT_ALLOWED
            tally.compare(f"{endpoint.path} with {kind} of a page", read(foreign), right)
            in_url = ask(api, endpoint, None, query={"key": api.keys[kind]})
            takes_beacons = kind is KeyKind.PK and endpoint.scope is Scope.INGEST
            right = (
                (endpoint.status, None) if takes_beacons else (401, ErrorCode.MISSING_BEARER_TOKEN)
            )
            tally.compare(f"{endpoint.path}?key= with {kind}", read(in_url), right)
        for name, code in bad.items():
            answer = ask(api, endpoint, name)
            tally.compare(f"{endpoint.path} with {name}", read(answer), (401, code))
        answer = ask(api, endpoint, None)
        right = 401, ErrorCode.MISSING_BEARER_TOKEN
        tally.compare(f"{endpoint.path} without a key", read(answer), right)


def compare_seen(api, tally, events):
    """Compare what each read key sees at each endpoint with the events of its project."""
    for endpoint in endpoints.ENDPOINTS:
        if endpoint.scope is not Scope.READ:
            continue
        params, count = SEEN[endpoint]
        for project, expected in events.items():
            rows = api.read(endpoint.path, key=f"{project}rk", **params).json()["rows"]
            tally.compare(f"{endpoint.path} of {project}rk", count(rows), expected)


def try_projects(api, tally):
    """Read, import and delete with the keys of three projects that have the same users."""
    for project, events in EVENTS.items():
        for number in range(events):
            who = {"anonymous_id": f"a{number}", "user_id": f"u{number}"}
            status = api.track("visit", key=f"{project}sk", **who)
            tally.compare(f"an event of {project}sk", status, 202)
    compare_seen(api, tally, EVENTS)
    part = endpoints.IMPORT.request_example
    for project in PROJECTS:
        body = {**part, "import_id": name_import(project)}
        status = api.post(endpoints.IMPORT.path, body, key=f"{project}sk")
        tally.compare(f"an import of {project}sk", status, 200)
    for project in PROJECTS:
        listed = api.ask("POST", endpoints.IMPORT_LIST.path, key=f"{project}sk", json={}).json()
        names = [one["import_id"] for one in listed["imports"]]
        tally.compare(f"the imports of {project}sk", names, [name_import(project)])
        for other in PROJECTS:
            body = {"import_id": name_import(other)}
            if other != project:
                undone = api.ask("POST", endpoints.IMPORT_UNDO.path, key=f"{project}sk", json=body)
                tally.compare(f"an import undone by {project}sk", undone.json()["deleted"], 0)
    api.post(endpoints.FORGET.path, {"user_id": "u0"}, key="other sk")
    await_count(api, EVENTS["other "], key="other rk")  # an import, and a visit less
    for project in PROJECTS:
        left = EVENTS[project] + (project != "other ")
        tally.compare(f"events left of {project}rk", api.count(key=f"{project}rk"), left)


def name_import(project):
    return f"of-{project.strip() or 'first'}"


def await_count(api, count, *, key):
    deadline_s = time.monotonic() + FORGET_TIMEOUT_S
    while api.count(key=key) != count and time.monotonic() < deadline_s:
        time.sleep(0.1)


def try_links(api, tally, bad):
    """Exchange a link's code for the key that asked for it, and keys for nothing."""
    path = endpoints.SIGN_IN_PATH
    for project in PROJECTS:
        answer = ask(api, endpoints.LINK, f"{project}rk")
        api.keys["code"] = answer.json()["code"]
        signed_in = api.ask("POST", path, key="code").json()
        tally.compare(f"the link of {project}rk", signed_in, {"key": api.keys[f"{project}rk"]})
        again = read(api.ask("POST", path, key="code"))
        tally.compare("the same link again", again, (401, ErrorCode.INVALID_API_KEY))
    for name in (*list_valid(), *bad):
        answer = read(api.ask("POST", path, key=name))
        tally.compare(f"{path} with {name}", answer, (401, ErrorCode.INVALID_API_KEY))
    answer = read(api.ask("POST", path, key=None))
    tally.compare(f"{path} without a code", answer, (401, ErrorCode.MISSING_BEARER_TOKEN))


def list_valid():
    return [project + kind for project in PROJECTS for kind in KeyKind]


def try_open_paths(api, tally, bad):
    """Ask for what needs no key, with and without keys; `/metrics` is off."""
    for name in (*list_valid(), *bad, None):
        for path in OPEN_PATHS:
            answer = api.ask("GET", path, key=name)
            tally.compare(f"{path} with {name}", answer.status_code, 200)
            answer = read(api.ask("POST", path, key=name))
            tally.compare(f"POST {path}", answer, (405, ErrorCode.METHOD_NOT_ALLOWED))
        answer = read(api.ask("GET", endpoints.METRICS_PATH, key=name))
        tally.compare("metrics that are off", answer, (404, ErrorCode.NOT_FOUND))


def try_metrics(api, tally, bad, *, has_token):
    """Ask for the metrics as this machine, and as one that a proxy passes on."""
    passed_on = {"X-Forwarded-For": "203.0.113.7"}
    for name in (*list_valid(), *bad, None, *(["token"] if has_token else [])):
        if not has_token:
            here, elsewhere = (200, None), (404, ErrorCode.NOT_FOUND)
        elif name == "token":
            here = elsewhere = (200, None)
        else:
            code = ErrorCode.INVALID_API_KEY if name else ErrorCode.MISSING_BEARER_TOKEN
            here = elsewhere = (401, code)
        answer = read(api.ask("GET", endpoints.METRICS_PATH, key=name))
        tally.compare(f"metrics with {name}", answer, here)
        answer = read(api.ask("GET", endpoints.METRICS_PATH, key=name, headers=passed_on))
        tally.compare(f"metrics with {name} from elsewhere", answer, elsewhere)


def run(scale, directory):
    keys, projects, others = Tally(), Tally(), Tally()
    with run_api(directory / "data") as api:
        add_test_keys(api)
        bad = add_bad_keys(api)
        try_projects(api, projects)
        try_keys(api, keys, bad)
        try_links(api, others, bad)
        try_open_paths(api, others, bad)
        unexpected = api.count_unexpected()
    for environ in ({}, {"MILLIMETRIC_METRICS_TOKEN": TOKEN}):
        with run_api(directory / "data", "--metrics", "on", environ=environ) as api:
            add_test_keys(api)
            bad = add_bad_keys(api)
            api.keys["token"] = TOKEN
            try_metrics(api, others, bad, has_token=bool(environ))
            unexpected = api.count_unexpected()
    pairs = len(ALL) * (len(list_valid()) + len(bad))
    return [
        at_least("pairs of a key and an endpoint tried", keys.asked, pairs),
        none("of them let in or refused wrongly", keys.wrong),
        at_least("reads, imports and deletions of three projects", projects.asked, len(SEEN) * 3),
        none("of them that saw or changed another project", projects.wrong),
        at_least(
            "pairs of a key and a path that needs none, of a link or of metrics",
            others.asked,
            len(OPEN_PATHS) * (len(list_valid()) + len(bad)),
        ),
        none("of them answered wrongly", others.wrong),
        none("unexpected errors of these requests", unexpected),
    ]
