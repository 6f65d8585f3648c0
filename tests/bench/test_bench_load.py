"""The load generator: what it sends, what it counts, what it refuses."""

import pytest

from bench.http_load import Load, LoadFailed, drive, encode_request

BODIES = (b'{"event":"first"}', b'{"event":"second"}', b'{"event":"third"}')


def make_load(upstream, *bodies, **changes):
    headers = [("authorization", "Bearer sk_test")]
    requests = [encode_request("POST", "/v1/track", headers=headers, body=body) for body in bodies]
    options = {"connections": 2, "duration_s": 0.2, "status": 202} | changes
    return Load(upstream.port, requests, **options)


def test_every_request_sent_has_arrived_and_was_answered(upstream):
    result = drive(make_load(upstream, *BODIES))
    assert result.sent == len(upstream.bodies) >= result.answers > 10
    assert set(upstream.keys) == {"Bearer sk_test"}


def test_requests_are_sent_in_turn(upstream):
    drive(make_load(upstream, *BODIES, connections=1))
    expected = [BODIES[number % 3] for number in range(len(upstream.bodies))]
    assert upstream.bodies == expected


def test_connections_are_kept_alive(upstream):
    drive(make_load(upstream, *BODIES, connections=3))
    assert len(upstream.connections) == 3


def test_the_number_of_requests_is_bounded(upstream):
    result = drive(make_load(upstream, *BODIES, duration_s=5.0, max_requests=20))
    assert result.sent <= 21


def test_a_load_with_a_rate_sends_no_more_a_second(upstream):
    result = drive(make_load(upstream, *BODIES, connections=4, warm_up_s=0.1, per_s=50))
    assert 2 <= result.sent == upstream.answered <= 0.3 * 50 + 1


def test_a_warm_up_is_sent_but_not_measured(upstream):
    result = drive(make_load(upstream, *BODIES, warm_up_s=0.3, duration_s=0.1))
    assert result.sent == len(upstream.bodies) > 2 * result.answers


def test_an_answer_may_arrive_in_pieces(upstream):
    upstream.pieces = lambda answer: [answer[:9], answer[9:-3], answer[-3:]]
    upstream.pause_s = 0.003
    result = drive(make_load(upstream, *BODIES))
    assert result.sent == upstream.answered > 1


def test_answers_under_way_when_the_time_is_up_are_waited_for(upstream):
    upstream.pause_s = 0.15
    result = drive(make_load(upstream, *BODIES, connections=4))
    assert result.sent == upstream.answered >= 4
    assert result.max_ms > 150


def test_an_answer_later_than_the_run_is_measured_but_not_counted(upstream):
    upstream.pause_s = 0.4
    result = drive(make_load(upstream, *BODIES))
    assert result.answers == 0
    assert result.p50_ms > 400


def test_a_body_larger_than_the_sockets_buffers_arrives_whole(upstream):
    body = bytes(range(256)) * 40_000
    drive(make_load(upstream, body))
    assert set(upstream.bodies) == {body}


def test_latencies_lie_within_the_run(upstream):
    result = drive(make_load(upstream, *BODIES))
    assert 0 < result.p50_ms <= result.p99_ms <= result.max_ms < 1000
    assert result.per_s == pytest.approx(result.answers / 0.2, rel=0.5)


def test_another_status_ends_the_run_and_is_shown(upstream):
    upstream.status = 503
    with pytest.raises(LoadFailed, match="503"):
        drive(make_load(upstream, *BODIES))


def test_a_closed_connection_ends_the_run(upstream):
    upstream.pieces = lambda _answer: []
    with pytest.raises(LoadFailed, match="closed"):
        drive(make_load(upstream, *BODIES))
