"""A process that may not have more memory: questions are refused, and nothing is lost."""

from bench.processes import read_memory_mb, start_worker
from bench.workspace import create_key
from millimetric_mcp.api.control import datadir
from millimetric_mcp.api.store import ClientPool, embedded_target, migrate
from millimetric_mcp.contract.keys import KeyKind
from tests.torture.harness import at_least, at_most, none, run_api

LIMIT_GIB = 4
BATCHES = 40
QUESTIONS = (
    {"group_by": "event_name,path,campaign", "metric": "uniques", "interval": "hour"},
    {"group_by": "properties.k", "limit": 1000},
    {"group_by": "user_id", "metric": "uniques", "limit": 1000},
)
SMALL_MB = 256
"""The least that --store-memory-mb may be."""
LARGE_ROWS = 40_000
FILL = """
INSERT INTO events (project_id, timestamp, anonymous_id, event_name, properties)
SELECT {project_id}, toDateTime64('2026-05-01 00:00:00', 3, 'UTC') + number, toString(number),
       'large', concat('{{"k":"', toString(number), repeat('y', 7900), '"}}')
FROM numbers({rows})
SETTINGS max_block_size = 1000, max_insert_block_size = 5000
"""
"""Its values are as long as properties may be: to group by them takes more than 256 MiB."""
TOO_LARGE = {"group_by": "properties.k"}


def make_batch(number):
    return {
        "events": [
            {
                "event": f"e{row % 50}",
                "anonymous_id": f"a{number}-{row}",
                "user_id": f"u{number}-{row}",
                "url": f"https://shop.example/{number}/{row}?utm_source=s&utm_campaign=c{row}",
                "properties": {"k": f"{number}-{row}" * 20},
            }
            for row in range(1000)
        ]
    }


def fill(data_dir, project_id, rows):
    pool = ClientPool(embedded_target(data_dir / datadir.STORE_DIR))
    migrate(pool)
    pool.run(lambda client: client.command(FILL.format(project_id=project_id, rows=rows)))
    pool.close()


def run(scale, directory):
    return [*run_small_address_space(scale, directory), *run_too_large(scale, directory)]


def run_small_address_space(scale, directory):
    limit = ["prlimit", f"--as={LIMIT_GIB << 30}"]
    batches = int(scale.pick(BATCHES, 3))
    with run_api(directory / "data", "--store-memory-mb", "256", wrapper=limit) as api:
        written = [api.post("/v1/batch", make_batch(number)) for number in range(batches)]
        asked = [api.read("/v1/stats", **question) for question in QUESTIONS * 3]
        stored = api.count()
        peak_mb = read_memory_mb(api.process.pid, peak=True)
        unexpected = api.count_unexpected()
    answered = sum(answer.is_success for answer in asked)
    refused = sum(answer.status_code == 400 for answer in asked)
    what = f"with {LIMIT_GIB} GiB of address space and 256 MiB for the store"
    return [
        none(
            f"questions {what}: neither answered nor refused as too large",
            len(asked) - answered - refused,
        ),
        at_least(f"questions answered {what}, of {len(asked)}", answered, 1),
        none(f"acknowledged events missing {what}", written.count(202) * 1000 - stored),
        at_most(f"resident memory {what}", peak_mb, 1500, "MB"),
        none(f"unexpected errors {what}", unexpected),
    ]


def run_too_large(scale, directory):
    """Ask what takes more than the store's memory; after each refusal write, and ask for little."""
    rounds = int(scale.pick(10, 2))
    data_dir = directory / "large"
    project_id = create_key(data_dir, KeyKind.RK).record.project_id
    with start_worker() as worker:
        worker.run(fill, data_dir, project_id, LARGE_ROWS)
    refused, written, small = [], [], []
    with run_api(data_dir, "--store-memory-mb", str(SMALL_MB)) as api:
        for _ in range(rounds):
            refused.append(api.read("/v1/stats", **TOO_LARGE))
            written.append(api.track("small", key="sk"))
            small.append(api.read("/v1/stats", event="small"))
        lost = LARGE_ROWS + written.count(202) - api.count()
        has_ended = api.process.poll() is not None
        peak_mb = read_memory_mb(api.process.pid, peak=True)
        unexpected = api.count_unexpected()
    right = sum(
        answer.is_success and answer.json()["rows"] == [{"value": written[: number + 1].count(202)}]
        for number, answer in enumerate(small)
    )
    codes = [(answer.status_code, answer.json().get("error")) for answer in refused]
    what = f"with {SMALL_MB} MiB for the store"
    return [
        at_least(
            f"questions about 316 MB of values refused as query_too_large {what}, of {rounds}",
            codes.count((400, "query_too_large")),
            rounds,
        ),
        none("events refused after them", rounds - written.count(202)),
        none("small questions after them without the right answer", rounds - right),
        none(
            "of their answers that call files damaged",
            sum("notes" in answer.json() for answer in small),
        ),
        none(f"acknowledged events missing {what}", lost),
        none("processes that a question has ended", int(has_ended)),
        at_most(f"resident memory {what}", peak_mb, 1500, "MB"),
        none("unexpected errors of such questions", unexpected),
    ]
