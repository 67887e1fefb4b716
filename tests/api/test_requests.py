"""What is counted of requests."""

from tsd.master.requests import RequestCounter


def test_requests_are_counted_by_their_route_and_never_by_what_somebody_sent():
    counter = RequestCounter()
    counter.answered("GET", "/jobs/<job_id>", 200, 0.001)
    counter.answered("GET", "/jobs/<job_id>", 404, 0.003)
    for number in range(1000):
        counter.answered(f"BREW{number}", None, 404, 0.1)

    figures = counter.figures()
    assert figures.answered == {
        ("GET", "/jobs/<job_id>", 200): 1,
        ("GET", "/jobs/<job_id>", 404): 1,
        ("other", "other", 404): 1000,
    }
    assert figures.elapsed_s["GET", "/jobs/<job_id>"].count == 2
    assert figures.elapsed_s["other", "other"].count == 1000


def test_requests_in_flight_are_those_that_are_not_answered():
    counter = RequestCounter()
    with counter.flight(), counter.flight():
        assert counter.figures().in_flight == 2

    assert counter.figures().in_flight == 0
