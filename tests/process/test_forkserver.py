"""The fork server and the node's end of it, with real processes."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from tests.support.waiting import is_alive, wait_for
from tsd.core.messages import ProcessSpec
from tsd.core.records import ProcessRole
from tsd.node.fork_messages import Exited, NotStarted, Setup, Signal, Started, encode
from tsd.node.processes import NodeProcesses
from tsd.settings import Settings


def child(act: str, number: int = 1, **env: str) -> ProcessSpec:
    role = ProcessRole.WORKER if number else ProcessRole.CONTROLLER
    return ProcessSpec(
        proc_id=f"ex/1/w{number}.1",
        role=role,
        ex_id="ex",
        job_id="job",
        generation=1,
        number=number,
        dial="",
        env={"ACT": act, **env},
    )


def setup(**changes) -> Setup:
    entry = "tests.support.children:act"
    values = {
        "settings": Settings(),
        "entries": {"worker": entry, "controller": entry},
        "preload": ("trio",),
        "node_id": "test",
    }
    return Setup(**(values | changes))


@asynccontextmanager
async def running_processes(**changes):
    processes = NodeProcesses(setup(**changes))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(processes.run)
            yield processes
            nursery.cancel_scope.cancel()


async def run_to_end(processes: NodeProcesses, spec: ProcessSpec) -> Exited:
    processes.spawn(spec)
    started = await processes.events.receive()
    assert isinstance(started, Started)
    exited = await processes.events.receive()
    assert isinstance(exited, Exited)
    assert exited.pid == started.pid
    return exited


async def test_an_exit_code_is_reported_without_words():
    async with running_processes() as processes:
        exited = await run_to_end(processes, child("exit 7"))

    assert (exited.exit_code, exited.signal, exited.running, exited.detail) == (7, None, None, "")


async def test_a_crash_reports_what_happened_and_its_traceback():
    async with running_processes() as processes:
        exited = await run_to_end(processes, child("raise the-reason"))

    assert exited.exit_code == 70
    assert exited.detail.startswith("RuntimeError: the-reason\n")
    assert exited.detail.endswith("RuntimeError: the-reason")


async def test_long_last_words_keep_their_start_and_their_end():
    async with running_processes() as processes:
        exited = await run_to_end(processes, child("raise " + "é" * 20_000 + "-end"))

    assert len(exited.detail) <= 2_000
    assert exited.detail.startswith("RuntimeError: é")
    assert exited.detail.endswith("é-end")


async def test_a_killed_process_reports_the_slice_it_was_running():
    """B1: a worker that dies says which slice it was in, without having said a word."""
    async with running_processes() as processes:
        exited = await run_to_end(processes, child("die-in-slice 41"))

    assert (exited.exit_code, exited.signal, exited.running) == (None, signal.SIGKILL, 41)


async def test_a_segmentation_fault_reports_where_python_was():
    async with running_processes() as processes:
        exited = await run_to_end(processes, child("segfault"))

    assert exited.signal == signal.SIGSEGV
    assert "Segmentation fault" in exited.detail
    assert "children.py" in exited.detail


async def test_a_child_has_a_clean_environment_of_its_own(tmp_path):
    told = tmp_path / "told"
    async with running_processes() as processes:
        processes.spawn(child("sleep", 2))
        await processes.events.receive()
        await run_to_end(processes, child(f"tell {told}", COLOUR="blue"))
    colour, title, leads_group, stdin, chld_is_default, blocked, data_dir, descriptors = (
        told.read_text().split("\n")
    )

    assert colour == "blue"
    assert title == "tsd: worker ex/1"
    assert leads_group == "True"
    assert stdin == "/dev/null"
    assert chld_is_default == "True"
    assert blocked == "[]"
    assert str(Settings().tsd.data_dir) == data_dir
    # 0-2, its own black box and its mapping, the folder listing; none of its brother or the server.
    assert int(descriptors) <= 6


async def test_a_process_told_to_end_right_after_its_start_ends_well():
    async with running_processes() as processes:
        for number in range(1, 30):
            spec = child("sleep", number)
            processes.spawn(spec)
            processes.signal(spec.proc_id, signal.SIGTERM)
        ends = [event async for event in first_of(processes.events, 58) if isinstance(event, Exited)]

    assert {(0, None, "")} == {(exited.exit_code, exited.signal, exited.detail) for exited in ends}


async def first_of(channel, count):
    for _ in range(count):
        yield await channel.receive()


async def test_settings_hold_for_the_next_process_and_those_that_are_too_large_are_told_of(tmp_path):
    def settings(folder, connectors):
        return Settings(
            tsd=attrs.evolve(Settings().tsd, data_dir=folder),
            terafoundation=attrs.evolve(Settings().terafoundation, connectors=connectors),
        )

    async with running_processes() as processes:
        processes.set_up(setup(settings=settings(tmp_path / "new", {})))
        with capture_logs() as logs:
            processes.set_up(
                setup(settings=settings(tmp_path / "huge", {"x": {"y": {"z": "z" * 3_000_000}}}))
            )
            await run_to_end(processes, child(f"tell {tmp_path / 'facts'}"))

    assert str(tmp_path / "new") in (tmp_path / "facts").read_text().splitlines()
    assert [line["event"] for line in logs] == ["settings.not_passed_on"]


async def test_what_a_process_started_dies_with_it(tmp_path):
    file = tmp_path / "pids"
    async with running_processes() as processes:
        processes.spawn(child(f"start-child {file}"))
        await wait_for(file.exists, "the child started one of its own")
        pid, grandchild = map(int, file.read_text().split())
        os.kill(pid, signal.SIGKILL)
        await processes.events.receive()
        await processes.events.receive()

        await wait_for(lambda: not is_alive(grandchild), "the grandchild died")


@pytest.mark.parametrize("act", ["daemonize", "fork-daemon"])
async def test_a_daemon_of_a_process_dies_with_it_and_with_no_other(tmp_path, act):
    """Also one that is in a session of its own, forked twice, and does not care for SIGTERM."""
    files = [tmp_path / "first", tmp_path / "second"]
    async with running_processes() as processes:
        pids = []
        for number, file in enumerate(files, start=1):
            processes.spawn(child(f"{act} {file}", number))
            await processes.events.receive()
            await wait_for(file.exists, "the daemon runs")
            pids.append([int(pid) for pid in file.read_text().split()])
        (first, first_daemon), (second, second_daemon) = pids
        os.kill(first, signal.SIGKILL)

        assert isinstance(await processes.events.receive(), Exited)
        await wait_for(lambda: not is_alive(first_daemon), "the daemon ended with its process")
        assert is_alive(second)
        assert is_alive(second_daemon)

    await wait_for(lambda: not is_alive(second_daemon), "the other one ended with the server")


async def test_a_process_that_nobody_can_place_ends_when_all_have_ended_that_may_have_started_it(tmp_path):
    file = tmp_path / "pids"
    async with running_processes() as processes:
        processes.spawn(child("sleep", 1))
        sleeper = await processes.events.receive()
        processes.spawn(child(f"daemonize-without-a-trace {file}", 2))
        await processes.events.receive()
        await wait_for(file.exists, "the daemon runs")
        pid, daemon = map(int, file.read_text().split())
        os.kill(pid, signal.SIGKILL)
        await processes.events.receive()

        assert is_alive(daemon)

        os.kill(sleeper.pid, signal.SIGKILL)
        await processes.events.receive()
        await wait_for(lambda: not is_alive(daemon), "nobody is left to whom the daemon could belong")


async def test_what_the_programs_of_a_process_leave_behind_is_reaped():
    async with running_processes() as processes:
        processes.spawn(child("leave-zombies 20"))
        started = await processes.events.receive()
        server = processes.server_pid
        await wait_for(lambda: "sleep" in _states_of_children(server), "there are orphans")
        await wait_for(lambda: "sleep" not in _states_of_children(server), "there are none any more")

        assert is_alive(started.pid)
        assert "Z" not in _states_of_children(server).split()


def _states_of_children(pid: int) -> str:
    done = subprocess.run(
        ["ps", "-o", "state=,comm=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return done.stdout


async def test_a_signal_for_an_ended_process_does_nothing():
    async with running_processes() as processes:
        await run_to_end(processes, child("exit 0"))
        processes.signal("ex/1/w1.1", signal.SIGKILL)

        assert (await run_to_end(processes, child("exit 0"))).exit_code == 0


SERVER_DIES = """
import os, signal, sys, trio
from pathlib import Path
from tests.process.test_forkserver import child, run_to_end, setup
from tests.support.waiting import is_alive, wait_for
from tsd.node.processes import SERVER_LOST, NodeProcesses
from tsd.prctl import adopt_orphans

async def main(folder):
    processes = NodeProcesses(setup(), adopts=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(processes.run)
        nursery.start_soon(processes.reap_adopted)
        pids = []
        for number, act in enumerate(("start-child", "daemonize"), start=1):
            file = folder / act
            processes.spawn(child(f"{act} {file}", number))
            started = await processes.events.receive()
            await wait_for(file.exists, "the child started one of its own")
            pids += map(int, file.read_text().split())
            assert started.pid in pids
        assert all(map(is_alive, pids))
        os.kill(processes.server_pid, signal.SIGKILL)
        lost = [await processes.events.receive() for _ in range(2)]
        assert {exited.detail for exited in lost} == {SERVER_LOST}
        for pid in pids:
            await wait_for(lambda: not is_alive(pid), f"{pid} died with its server")
        assert (await run_to_end(processes, child("exit 3", 5))).exit_code == 3
        nursery.cancel_scope.cancel()

adopt_orphans()
trio.run(main, Path(sys.argv[1]))
"""


def test_when_the_server_dies_its_children_are_reported_and_another_starts(tmp_path):
    """What they had started dies with them, also what hid in a session of its own."""
    run_script(SERVER_DIES, tmp_path)


FIRST_PROCESS = """
import os, signal, subprocess, trio
from tests.process.test_forkserver import child, run_to_end, setup
from tests.support.waiting import wait_for
from tsd.node.processes import NodeProcesses

def states():
    return subprocess.run(["ps", "-eo", "state=,args="], capture_output=True, text=True, check=True).stdout

async def main():
    processes = NodeProcesses(setup(), adopts=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(processes.run)
        nursery.start_soon(processes.reap_adopted)
        await run_to_end(processes, child("leave-zombies 15"))
        # One that was never of this node, as of `docker exec`, comes to the first process too.
        subprocess.run(["sh", "-c", "sleep 0.2 & sleep 500 &"], check=True)
        processes.spawn(child("leave-zombies 300", 2))
        await processes.events.receive()
        os.kill(processes.server_pid, signal.SIGKILL)
        await processes.events.receive()
        await wait_for(lambda: "sleep 0." not in states(), "what was left behind has ended")
        await wait_for(lambda: "defunct" not in states(), "all of it is reaped")
        assert "sleep 500" in states(), "a stranger is left alone"
        nursery.cancel_scope.cancel()

assert os.getpid() == 1
trio.run(main)
"""
_UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc"]


@pytest.mark.skipif(
    subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode != 0,
    reason="no namespaces here",
)
def test_as_the_first_process_of_a_container_a_node_reaps():
    run_script(FIRST_PROCESS, prefix=_UNSHARE)


def run_script(script: str, *arguments: object, prefix: Sequence[str] = ()) -> None:
    done = subprocess.run(
        [*prefix, sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr


async def test_what_the_server_said_before_its_death_counts(tmp_path):
    """Linux tells of a reset before it hands out what waits, when the dead end had not read everything."""
    async with running_processes() as processes:
        processes.spawn(child("sleep"))
        started = await processes.events.receive()
        # From here the loop does not run, so that nothing is read until the server is dead.
        server_pid, ours = processes.server_pid, processes._server.ours
        os.kill(started.pid, signal.SIGTERM)
        assert select.select([ours], [], [], 10)[0], "the server told of the end"
        os.kill(server_pid, signal.SIGSTOP)
        ours.send(encode(Signal(proc_id="ex/1/w9.1", number=signal.SIGTERM)))
        os.kill(server_pid, signal.SIGKILL)
        os.waitid(os.P_PID, server_pid, os.WEXITED | os.WNOWAIT)

        exited = await processes.events.receive()

        assert (exited.exit_code, exited.detail) == (0, "")


NO_FORK = """
import os, socket
from tests.process.test_forkserver import child, setup
from tsd.node.forkserver import ForkServer
from tsd.node.fork_messages import NotStarted, decode

def refuse():
    raise BlockingIOError(11, "no more processes")

os.fork = refuse
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server = ForkServer(theirs, setup())
before = len(os.listdir("/proc/self/fd"))
for _ in range(5):
    server._spawn(child("sleep"))
    assert isinstance(decode(ours.recv(65536)), NotStarted)
print(len(os.listdir("/proc/self/fd")) - before)
"""


def test_a_refused_fork_leaves_no_descriptor_behind():
    done = subprocess.run(
        [sys.executable, "-c", NO_FORK], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout == "0\n", done.stderr


async def test_a_process_that_can_not_be_described_is_not_started():
    async with running_processes() as processes:
        processes.spawn(child("exit 0", HUGE="x" * 8_000_000))
        answer = await processes.events.receive()

        assert isinstance(answer, NotStarted)
        assert answer.reason.startswith("its environment of 8,000,")
        assert "make env_vars of the job and of the cluster smaller" in answer.reason
        assert (await run_to_end(processes, child("exit 0", 2))).exit_code == 0


async def test_ending_the_node_side_ends_all_processes():
    async with running_processes() as processes:
        processes.spawn(child("sleep"))
        started = await processes.events.receive()
        server_pid = processes.server_pid

    assert not is_alive(server_pid)
    assert not is_alive(started.pid)


NODE = """
import sys, trio
from tests.process.test_forkserver import child, setup
from tsd.node.processes import NodeProcesses

async def main():
    processes = NodeProcesses(setup())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(processes.run)
        processes.spawn(child("start-child " + sys.argv[1]))
        await trio.sleep(600)

trio.run(main)
"""


async def test_when_the_node_is_killed_nothing_is_left(tmp_path):
    """No orphan: not the server, not a child, not what a child started."""
    file = tmp_path / "pids"
    with subprocess.Popen([sys.executable, "-c", NODE, str(file)], cwd=os.getcwd()) as node:
        try:
            await wait_for(file.exists, "the child started one of its own")
            pid, grandchild = map(int, file.read_text().split())
            server = int(subprocess.check_output(["ps", "-o", "ppid=", str(pid)]))
        finally:
            node.kill()

    for left in (pid, grandchild, server):
        await wait_for(lambda left=left: not is_alive(left), f"{left} died")


@pytest.mark.slow
async def test_starting_is_a_matter_of_milliseconds():
    """A hundred starts share what the server has imported: their own memory stays small."""
    async with running_processes(preload=("trio", "zmq", "msgspec")) as processes:
        for number in range(1, 101):
            processes.spawn(child("sleep", number))
        pids = [(await processes.events.receive()).pid for _ in range(100)]
        await wait_for(lambda: all(is_alive(pid) for pid in pids), "all run")
        shared = [_private_kb(pid) for pid in pids]

    assert max(shared) < 10_000


def _private_kb(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
