"""What a worker tells its operations about slices that the controller has taken in."""

from tsd.core.messages import Results, ResultsSeen
from tsd.core.records import SliceState
from tsd.ids import slice_id
from tsd.worker.tidings import Tidings


def results(seq, done=(), full=(), returned=()):
    return Results(seq=seq, done=list(done), full=list(full), returned=list(returned), busy_us=0)


def test_a_completed_slice_is_told_once_its_result_was_seen():
    tidings = Tidings("ex")
    tidings.arrived(
        [(1, 0, 11, "{}", None, None), (2, 0, 12, "{}", "old", None), (3, 0, 13, "{}", None, "own")]
    )
    tidings.sending(results(1, done=[1, 2, 3]))

    assert tidings.received(ResultsSeen(seq=0)) == []
    assert tidings.received(ResultsSeen(seq=1)) == [slice_id("ex", 0, 11), slice_id("old", 0, 12), "own"]
    assert tidings.received(ResultsSeen(seq=1)) == []


def test_a_repeated_result_is_told_once():
    tidings = Tidings("ex")
    tidings.arrived([(1, 0, 1, "{}", None, "a")])
    tidings.sending(results(1, done=[1]))
    tidings.sending(results(1, done=[1]))

    assert tidings.received(ResultsSeen(seq=1)) == ["a"]


def test_slices_that_failed_or_went_back_are_not_told():
    tidings = Tidings("ex")
    tidings.arrived([(n, 0, n, "{}", None, f"s{n}") for n in (1, 2, 3)])
    failed = (1, int(SliceState.ERROR), 0, "why", None)
    retried = (2, int(SliceState.COMPLETED), 1, None, None)
    tidings.sending(results(1, full=[failed, retried], returned=[3]))

    assert tidings.received(ResultsSeen(seq=1)) == ["s2"]
