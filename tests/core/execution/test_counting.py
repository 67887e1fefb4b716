"""What a controller counts of itself and its workers, from its own start on."""

from tests.support.execution_rig import EX, Rig, hello, numbers
from tsd.core.counts import COUNT_MAX, MeshCounts
from tsd.core.execution import events as ev
from tsd.core.messages import Again, Results, WorkerBeat, WorkerBye


def tell(rig, peer, message):
    rig.machine.handle(ev.FromWorker(peer, message), now=rig.now)


def beat(mesh):
    return WorkerBeat(running=None, running_for_s=0.0, held=0, mesh=mesh)


def next_counts(rig):
    """Of a beat that is sent from now on."""
    rig.last_beat = None
    rig.run_until(lambda: rig.last_beat)
    return rig.last_beat.counts


def test_slices_that_end_are_counted_with_the_time_they_took():
    rig = Rig(numbers(30))
    rig.worker(1, duration_s=0.01, outcome=lambda item: "error" if item[0] == 3 else None)
    rig.run_until(lambda: rig.exit)

    work = rig.master.reports[-1].counts.work
    assert (work.completed, work.failed, work.refused) == (29, 1, 0)
    assert work.busy_us > 0


def test_a_generation_begins_with_nothing_whatever_the_one_before_did():
    rig = Rig(numbers(1000))
    rig.worker(1, duration_s=0.01)
    rig.run(2)
    done = next_counts(rig).work.completed
    assert done > 10
    rig.restart()
    rig.run(2)
    assert rig.stats.processed > 0
    assert next_counts(rig).work.completed == 0

    rig.worker(2, duration_s=0.01)
    rig.run_until(lambda: rig.exit)

    assert rig.master.reports[-1].stats.processed == 1000
    assert rig.master.reports[-1].counts.work.completed < 1000


def test_links_of_workers_are_added_up_also_of_those_that_are_gone():
    rig = Rig(numbers(5), persistent=True)
    rig.run(1)
    for number in (1, 2):
        tell(rig, f"{EX}/1/w{number}.1", hello(number))
        tell(rig, f"{EX}/1/w{number}.1", beat(MeshCounts(messages_in=10, bad_frames=1, queued=4)))
    assert next_counts(rig).workers == MeshCounts(messages_in=20, bad_frames=2, queued=8)

    tell(rig, f"{EX}/1/w1.1", WorkerBye(reason="", mesh=MeshCounts(messages_in=11, bad_frames=1, queued=4)))

    assert next_counts(rig).workers == MeshCounts(messages_in=21, bad_frames=2, queued=4)


def test_a_result_that_came_twice_is_counted_as_refused():
    rig = Rig(numbers(5), persistent=True)
    rig.run(1)
    peer = f"{EX}/1/w1.1"
    tell(rig, peer, hello(1))
    for _ in range(2):
        tell(rig, peer, Results(seq=1, done=[1, 2], full=[], returned=[], busy_us=70, records=9))

    work = next_counts(rig).work
    assert (work.completed, work.refused, work.busy_us, work.records) == (2, 2, 70, 9)


def test_a_worker_that_says_nonsense_of_its_work_ends_nothing():
    rig = Rig(numbers(5), persistent=True)
    rig.run(1)
    tell(rig, f"{EX}/1/w1.1", hello(1))
    tell(rig, f"{EX}/1/w1.1", Results(seq=1, done=[1], full=[], returned=[], busy_us=-5, records=2**62))

    work = next_counts(rig).work
    assert (work.completed, work.busy_us, work.records) == (1, 0, COUNT_MAX)


def test_a_controller_that_was_welcomed_again_says_so():
    rig = Rig(numbers(5), persistent=True)
    assert next_counts(rig).mesh.reconnects == 0
    rig.machine.handle(ev.FromMaster(Again()), now=rig.now)
    rig.run(1)

    assert next_counts(rig).mesh.reconnects == 1


def test_a_worker_that_reconnects_says_so_and_takes_nothing_away():
    rig = Rig(numbers(5), persistent=True)
    worker = rig.worker(1, duration_s=0.01)
    rig.run(2)
    before = next_counts(rig)
    worker.feed(ev.FromController(Again()))
    rig.run(2)
    after = next_counts(rig)

    assert before.work.completed == 5
    assert (before.workers.reconnects, after.workers.reconnects) == (0, 1)
    assert after.work == before.work
