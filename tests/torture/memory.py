"""A process that may not have more memory: questions are refused, and nothing is lost."""

from bench.processes import read_memory_mb
from tests.torture.harness import at_least, at_most, none, run_api

LIMIT_GIB = 4
BATCHES = 40
QUESTIONS = (
    {"group_by": "event_name,path,campaign", "metric": "uniques", "interval": "hour"},
    {"group_by": "properties.k", "limit": 1000},
    {"group_by": "user_id", "metric": "uniques", "limit": 1000},
)


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


def run(scale, directory):
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
