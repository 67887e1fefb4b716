"""Real controllers and workers, started by a real fork server, under a small master that keeps records.

What dies here dies for real. The slow ones wait for timeouts or beats of the protocol.
"""

import os
import signal
import socket

import msgspec
import pytest
import trio

from tests.support.minimaster import running_master, settings_for
from tests.support.waiting import is_alive, wait_for
from tsd.core.kinds import CONTROLLER_TO_WORKER, WORKER_TO_CONTROLLER
from tsd.core.messages import PROTOCOL, Results, WorkerBye, WorkerHello, WorkerWelcome
from tsd.core.records import ProcessRole, SliceState, Status
from tsd.ids import worker_id
from tsd.mesh.codec import Codec
from tsd.mesh.socket import dial_tcp

QUIET_ENDS = {(0, None, "")}
READ = {"_op": "count", "size": 50}


def witness(tmp_path):
    return {"_op": "witness", "file": str(tmp_path / "witness")}


def seen(tmp_path):
    """Numbers of slices in the order in which operations saw them."""
    file = tmp_path / "witness"
    return [int(line.split()[0]) for line in file.read_text().splitlines()] if file.exists() else []


async def test_a_job_runs_to_its_end_and_all_processes_leave(tmp_path):
    """E3, B3: every slice is recorded as completed, once, and the processes end with 0."""
    async with running_master(tmp_path, [READ, witness(tmp_path)], workers=2) as master:
        assert await master.wait_end() is Status.COMPLETED
        await master.wait_gone()

        assert master.statuses == [Status.SCHEDULING, Status.INITIALIZING, Status.RUNNING, Status.COMPLETED]
        assert master.states()[SliceState.COMPLETED] == 50 == len(master.records)
        assert sorted(seen(tmp_path)) == list(range(50))
        # A worker may be too late for such a short job, and is then told to end while it still starts.
        assert {(end.exit_code, end.signal, end.detail) for end in master.exits} <= QUIET_ENDS
        assert master.stats.processed == 50


@pytest.mark.slow
async def test_orders_of_slices_begin_with_one(tmp_path):
    """E12."""
    async with running_master(tmp_path, [READ, witness(tmp_path)]) as master:
        await master.wait_end()

        assert sorted(master.records) == [(0, order) for order in range(1, 51)]


async def test_a_killed_worker_loses_no_slice_and_counts_none_twice(tmp_path):
    """B1: what it held is run by others, and the slice it was running is run again."""
    sleeper = {"_op": "sleeper", "at": [20], "seconds": 1.0}
    async with running_master(tmp_path, [READ, witness(tmp_path), sleeper], workers=2) as master:
        await wait_for(lambda: 20 in seen(tmp_path), "slice 20 runs")
        holder = int(
            next(
                line.split()[1]
                for line in (tmp_path / "witness").read_text().splitlines()
                if line.startswith("20 ")
            )
        )
        os.kill(holder, signal.SIGKILL)

        assert await master.wait_end() is Status.COMPLETED
        assert master.states()[SliceState.COMPLETED] == 50 == len(master.records)
        assert set(seen(tmp_path)) == set(range(50))
        assert seen(tmp_path).count(20) == 2
        assert master.stats.processed == 50


@pytest.mark.parametrize("how", ["kill", "segfault", "exit"])
async def test_a_slice_that_kills_its_worker_ends_in_error(tmp_path, how):
    """Poison never loops: after max_retries + 1 deaths it is marked, with what killed it; the rest completes."""
    killer = {"_op": "killer", "at": [7], "file": str(tmp_path / "deaths"), "how": how}
    async with running_master(tmp_path, [READ, killer], workers=2, max_retries=1) as master:
        assert await master.wait_end() is Status.FAILED

        assert master.states()[SliceState.COMPLETED] == 49
        poisoned = [kept for kept in master.records.values() if kept.state is SliceState.ERROR]
        assert [kept.request for kept in poisoned] == ['{"number":7}']
        assert (tmp_path / "deaths").read_text() == ".."
        words = {"kill": "9", "segfault": "Segmentation fault", "exit": "SystemExit"}[how]
        assert words in poisoned[0].error


@pytest.mark.slow
async def test_a_slice_that_kills_only_once_completes(tmp_path):
    killer = {"_op": "killer", "at": [7], "file": str(tmp_path / "deaths"), "times": 1}
    async with running_master(tmp_path, [READ, killer]) as master:
        assert await master.wait_end() is Status.COMPLETED
        assert master.states()[SliceState.COMPLETED] == 50


async def test_a_failing_slice_fails_the_execution_and_nothing_else(tmp_path):
    """E18, E16: with the error of the last attempt."""
    raiser = {"_op": "raiser", "at": [3, 4]}
    async with running_master(tmp_path, [READ, raiser], max_retries=0) as master:
        assert await master.wait_end() is Status.FAILED

        assert master.states()[SliceState.ERROR] == 2
        assert master.states()[SliceState.COMPLETED] == 48
        assert "bad number 3" in master.records[(0, 4)].error
        assert "had 2 slice failures" in master.reason


@pytest.mark.slow
async def test_a_worker_whose_interpreter_is_held_is_not_lost(tmp_path):
    """Silence of the loop with a healthy link is shown as stalled, and nothing is done about it."""
    hog = {"_op": "hog", "at": [5], "seconds": 4.0}
    settings = settings_for(tmp_path, **{"teraslice.worker_disconnect_timeout": "1 second"})
    async with running_master(tmp_path, [READ, witness(tmp_path), hog], settings=settings) as master:
        await master.wait(lambda m: m.stats is not None and m.stats.stalled_workers, "it is shown as stalled")

        assert await master.wait_end() is Status.COMPLETED
        assert sorted(seen(tmp_path)) == list(range(50))
        assert master.stats.workers_disconnected == 0


@pytest.mark.slow
async def test_sigterm_lets_a_worker_end_its_slice_and_give_back_the_rest(tmp_path):
    """B5: the running slice is completed by the one that began it; no slice is run twice."""
    sleeper = {"_op": "sleeper", "at": [5], "seconds": 1.0}
    async with running_master(tmp_path, [READ, witness(tmp_path), sleeper]) as master:
        await wait_for(lambda: 5 in seen(tmp_path), "slice 5 runs")
        master.signal(ProcessRole.WORKER, signal.SIGTERM)
        await master.wait(lambda m: m.exits, "the worker ended")

        assert (master.exits[0].exit_code, master.exits[0].running) == (0, None)
        assert await master.wait_end() is Status.COMPLETED
        assert sorted(seen(tmp_path)) == list(range(50))


@pytest.mark.slow
async def test_a_second_sigterm_does_not_wait_for_the_slice(tmp_path):
    sleeper = {"_op": "sleeper", "at": [5], "seconds": 60.0}
    async with running_master(tmp_path, [READ, witness(tmp_path), sleeper]) as master:
        await wait_for(lambda: 5 in seen(tmp_path), "slice 5 runs")
        pid = master.pid_of(ProcessRole.WORKER)
        with trio.fail_after(10):
            while is_alive(pid):
                # The kernel makes one of two that come at once.
                os.kill(pid, signal.SIGTERM)
                await trio.sleep(0.1)


@pytest.mark.slow
async def test_stop_drains_the_running_slice(tmp_path):
    """E27: what runs ends within its time, what is not begun stays unfinished, and everybody leaves."""
    sleeper = {"_op": "sleeper", "at": [5], "seconds": 1.0}
    async with running_master(tmp_path, [READ, witness(tmp_path), sleeper]) as master:
        await wait_for(lambda: 5 in seen(tmp_path), "slice 5 runs")
        master.stop()
        await master.wait_gone()

        assert {(end.exit_code, end.signal, end.detail) for end in master.exits} <= QUIET_ENDS
        assert master.records[(0, 6)].state is SliceState.COMPLETED
        assert master.states()[SliceState.COMPLETED] == 6 == len(seen(tmp_path))
        assert not master.states()[SliceState.START]


@pytest.mark.slow
async def test_stop_now_does_not_wait_for_user_code(tmp_path):
    sleeper = {"_op": "sleeper", "at": [5], "seconds": 60.0}
    async with running_master(tmp_path, [READ, witness(tmp_path), sleeper]) as master:
        await wait_for(lambda: 5 in seen(tmp_path), "slice 5 runs")
        master.stop("now", 0.0)
        await master.wait_gone(within_s=15)

        assert master.records[(0, 6)].state is not SliceState.COMPLETED


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kindly", "stubbornly"])
async def test_a_stop_does_not_wait_for_a_worker_that_still_initializes(tmp_path, how):
    slow = {"_op": "slow-start", "seconds": 60.0, "file": str(tmp_path / "begun"), "how": how}
    async with running_master(tmp_path, [READ, slow]) as master:
        await wait_for((tmp_path / "begun").exists, "the worker initializes")
        master.stop()
        await master.wait_gone(within_s=15)

        assert master.status is Status.STOPPED
        assert master.states()[SliceState.COMPLETED] == 0


@pytest.mark.slow
async def test_a_killed_controller_is_replaced_and_loses_nothing(tmp_path):
    """A new generation runs what was unfinished and goes on where the slicer was."""
    sleeper = {"_op": "sleeper", "seconds": 0.01}
    async with running_master(tmp_path, [READ, witness(tmp_path), sleeper]) as master:
        await wait_for(lambda: len(seen(tmp_path)) > 15, "some slices ran")
        os.kill(master.pid_of(ProcessRole.CONTROLLER), signal.SIGKILL)

        assert await master.wait_end() is Status.COMPLETED
        assert master.states()[SliceState.COMPLETED] == 50 == len(master.records)
        assert set(seen(tmp_path)) == set(range(50))


async def test_a_slicer_that_raises_fails_the_execution(tmp_path):
    """E21."""
    async with running_master(tmp_path, [{**READ, "raise_at": 10}, witness(tmp_path)]) as master:
        assert await master.wait_end() is Status.FAILED
        await master.wait_gone()

        assert "had an error, shutting down execution" in master.reason
        assert "no slice number 10" in master.reason


async def test_a_slicer_that_returns_nonsense_fails_the_execution(tmp_path):
    async with running_master(tmp_path, [{**READ, "nonsense_at": 10}, witness(tmp_path)]) as master:
        assert await master.wait_end() is Status.FAILED
        assert "which is no object, list or null" in master.reason


@pytest.mark.slow
async def test_a_slicer_that_never_returns_stops_neither_the_beats_nor_a_stop(tmp_path):
    async with running_master(tmp_path, [{**READ, "stuck_at": 10}, witness(tmp_path)]) as master:
        await master.wait(lambda m: m.states()[SliceState.COMPLETED] == 10, "what was made is done")
        beats = len(master.beats)
        await master.wait(lambda m: len(m.beats) > beats + 3, "it still beats")
        master.stop(within_s=2.0)
        await master.wait_gone(within_s=15)

        assert {(end.exit_code, end.signal, end.detail) for end in master.exits} <= QUIET_ENDS


async def test_an_operation_that_can_not_start_fails_the_execution(tmp_path):
    """B7."""
    async with running_master(tmp_path, [READ, {"_op": "unready"}]) as master:
        assert await master.wait_end() is Status.FAILED
        assert "this operation is never ready" in master.reason


async def test_an_unknown_reader_fails_the_execution(tmp_path):
    async with running_master(tmp_path, [{"_op": "no-such-reader"}, witness(tmp_path)]) as master:
        assert await master.wait_end() is Status.FAILED
        assert "no-such-reader" in master.reason


@pytest.mark.slow
async def test_a_fatal_error_ends_the_worker_and_another_takes_its_place(tmp_path):
    raiser = {"_op": "raiser", "at": [5], "how": "fatal"}
    async with running_master(tmp_path, [READ, raiser]) as master:
        assert await master.wait_end() is Status.FAILED

        assert master.exits[0].exit_code == 1
        assert master.states()[SliceState.ERROR] == 1
        assert master.states()[SliceState.COMPLETED] == 49


@pytest.mark.slow
async def test_async_operations_run_on_the_loop(tmp_path):
    async with running_master(tmp_path, [READ, {"_op": "async-pass"}, witness(tmp_path)]) as master:
        assert await master.wait_end() is Status.COMPLETED
        assert sorted(seen(tmp_path)) == list(range(50))


async def test_operations_are_flushed_before_a_worker_leaves(tmp_path):
    """E43."""
    hoarder = {"_op": "hoarder", "file": str(tmp_path / "flushed")}
    async with running_master(tmp_path, [READ, hoarder]) as master:
        assert await master.wait_end() is Status.COMPLETED
        await master.wait_gone()

        assert (tmp_path / "flushed").read_text() == "50\n"


UNREADABLE = {
    "no list": b"{}",
    "nested": b'[{"record":' + b"[" * 5_000 + b"]" * 5_000 + b',"metadata":{},"error":"","operation":"o",'
    b'"position":"p","slice_id":"s","time_ms":1}]',
    "number": b'[{"record":1,"metadata":{},"error":"","operation":"o","position":"p","slice_id":"s",'
    b'"time_ms":9223372036854775808}]',
}


@pytest.mark.parametrize("letters", UNREADABLE.values(), ids=UNREADABLE)
async def test_dead_letters_that_nobody_can_read_are_no_results(tmp_path, letters):
    """They go no further: what the master can not store would end the execution, or the master."""
    sleeper = {"_op": "sleeper", "at": [20], "seconds": 1.0}
    async with running_master(tmp_path, [READ, witness(tmp_path), sleeper]) as master:
        await wait_for(lambda: 20 in seen(tmp_path), "slice 20 runs")
        codec = Codec(CONTROLLER_TO_WORKER, WORKER_TO_CONTROLLER)
        name = worker_id("ex", 1, 7, 1)
        async with dial_tcp(master.controller_address, identity=name, codec=codec) as stranger:
            stranger.send(WorkerHello(protocol=PROTOCOL, ex_id="ex", generation=1, number=7, pid=1, holds=[]))
            while not any(isinstance(message, WorkerWelcome) for message in await stranger.receive()):
                pass
            told = {"seq": 1, "done": [], "full": [], "returned": [], "busy_us": 0}
            stranger.send(Results(**told, flush_letters=letters))
            stranger.send(WorkerBye(reason=""))

            assert await master.wait_end() is Status.COMPLETED
        assert master.states()[SliceState.COMPLETED] == 50 == len(master.records)
        assert master.letters == []


async def test_analytics_arrive_with_the_records(tmp_path):
    """E37."""
    async with running_master(tmp_path, [READ, witness(tmp_path)], analytics=True) as master:
        assert await master.wait_end() is Status.COMPLETED
        found = {tuple(msgspec.json.decode(kept.analytics)["size"]) for kept in master.records.values()}

        assert found == {(1, 1)}


def two_taken_ports():
    """Two neighbouring ports that somebody listens on."""
    while True:
        first, second = socket.socket(), socket.socket()
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1]
        try:
            second.bind(("127.0.0.1", port + 1))
        except (OSError, OverflowError):
            first.close()
            second.close()
            continue
        first.listen()
        second.listen()
        return port, (first, second)


async def test_without_a_free_port_the_controller_says_so(tmp_path):
    port, sockets = two_taken_ports()
    settings = settings_for(tmp_path, **{"teraslice.slicer_port_range": f"{port}:{port + 1}"})
    async with running_master(tmp_path, [READ, witness(tmp_path)], settings=settings) as master:
        await master.wait(lambda m: m.exits, "the controller ended")

        assert master.exits[0].exit_code == 71
        assert "are in use" in master.exits[0].detail
    for taken in sockets:
        taken.close()
