"""What shows that an event was paid for, as the engine computes it and as the classifier does."""

from urllib.parse import quote, quote_plus

import pytest

from millimetric_mcp.api.ingest.classify import PAID_MEDIUMS, PAID_WORDS, is_paid

MEDIUMS = (
    *sorted(PAID_MEDIUMS),
    *(f"social_{word}" for word in sorted(PAID_WORDS)),
    *("CPC", "Paid Social", "paid-search", "display ads", "non-paid", "not_paid", "no ads"),
    *("social", "email", "organic", "spaid", "cpcx", "facebook+cpc", "ü paid", "100%", ""),
)
TAIL = "&fbclid=x"


@pytest.fixture
def proofs(api):
    """Return each URL's proof, as stats by path and proof say it."""

    async def ask(urls):
        events = [{"event": "x", "url": url, "path": f"/{n}"} for n, url in enumerate(urls)]
        assert (await api.post("/v1/batch", {"events": events})).status_code == 202
        rows = await api.rows("/v1/stats", {"group_by": "path,paid_proof", "limit": 1000})
        found = {row["path"]: row["paid_proof"] for row in rows}
        return [found[f"/{n}"] for n in range(len(urls))]

    return ask


@pytest.mark.parametrize("write", [quote, quote_plus], ids=["%20", "plus"])
async def test_the_engine_and_the_classifier_agree_on_every_utm_medium(proofs, write):
    urls = [f"https://shop.example/?utm_medium={write(medium)}{TAIL}" for medium in MEDIUMS]

    expected = ["utm_medium" if is_paid(medium.lower()) else "click_id" for medium in MEDIUMS]
    assert {"utm_medium", "click_id"} == set(expected)
    assert await proofs(urls) == expected


async def test_the_proof_of_ordinary_landings(proofs):
    landings = {
        "https://shop.example/?utm_source=facebook&utm_medium=paid_social&fbclid=x": "utm_medium",
        "https://shop.example/?utm_source=facebook&amp;utm_medium=cpc": "utm_medium",
        "https://shop.example/?utm_source=facebook&fbclid=x": "click_id",
        "https://shop.example/?fbclid=x": "click_id",
        "https://shop.example/?utm_source=news&utm_medium=email": "",
        "https://shop.example/": "",
    }

    assert await proofs(list(landings)) == list(landings.values())


@pytest.mark.parametrize("path", ["/v1/stats", "/v1/funnel"])
async def test_the_proof_is_refused_for_a_touch(path, api):
    steps = {"steps": '[{"event": "a"}, {"event": "b"}]'} if path == "/v1/funnel" else {}
    asked = {"group_by": "paid_proof", "attribution": "last_touch", **steps}

    answer = await api.get(path, asked)

    assert answer.status_code == 400
    errors = answer.json()["details"]["fieldErrors"]
    assert errors == {"group_by": ["paid_proof goes with attribution=event"]}
