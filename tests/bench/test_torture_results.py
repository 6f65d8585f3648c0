"""What ``scripts/torture`` records, and what its checks count."""

from tests.torture.control_database import check_corrupt


def test_a_request_that_a_corrupt_control_database_lets_in_is_counted():
    found = {
        check.what: check
        for check in check_corrupt([(202, 0.1), (202, 0.1), (503, 0.1), (401, 0.1)], ready=503)
    }
    let_in = found["requests let in by a corrupt control database"]
    assert (let_in.value, let_in.holds) == (2, False)
    refused = found["requests that a corrupt control database refuses with another status than 503"]
    assert (refused.value, refused.holds) == (1, False)


def test_a_corrupt_control_database_that_refuses_all_with_503_keeps_its_promises():
    assert all(check.holds for check in check_corrupt([(503, 0.1)] * 20, ready=503))
