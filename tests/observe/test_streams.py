"""Streams of daemons: no reader, however slow, blocks the loop, and none ends a daemon."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.daemons import until
from tsd.observe import streams
from tsd.observe.streams import BACKLOG_B, NonBlockingText

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:
            continue


def read_all(descriptor, size):
    data = b""
    while len(data) < size:
        data += os.read(descriptor, 1 << 20)
    return data


def test_a_pipe_that_is_not_read_blocks_nobody_and_keeps_whole_lines_in_order(pipe):
    reader, writer = pipe
    stream = NonBlockingText(writer)
    lines = [f"{number} {'x' * 1000}\n" for number in range(500)]

    for line in lines:  # 500 kB, and a pipe holds 64 KiB
        stream.write(line)

    expected = "".join(lines).encode()
    assert read_all(reader, len(expected)) == expected


def test_lines_beyond_the_backlog_are_dropped_whole_and_counted(pipe):
    reader, writer = pipe
    dropped = []
    stream = NonBlockingText(writer, on_dropped=dropped.append)
    line = "x" * 9999 + "\n"
    count = 3 * BACKLOG_B // len(line)

    for _ in range(count):
        stream.write(line)
    os.set_blocking(reader, False)
    received = b""

    def drained():
        nonlocal received
        try:
            received += os.read(reader, 1 << 20)
        except BlockingIOError:
            return bool(dropped)
        return False

    until(drained, "all that was kept has been read")
    assert {len(part) for part in received.decode().split("\n")[:-1]} == {9999}
    assert received.endswith(b"\n")
    assert received.count(b"\n") + dropped[0] == count


def test_a_line_longer_than_the_backlog_comes_whole(pipe):
    reader, writer = pipe
    stream = NonBlockingText(writer)
    text = "y" * (3 * BACKLOG_B) + "\n"

    stream.write(text)

    assert read_all(reader, len(text)) == text.encode()


def test_a_thread_that_may_wait_loses_nothing_while_somebody_reads(pipe):
    reader, writer = pipe
    stream = NonBlockingText(writer)
    line = "z" * 9999 + "\n"
    count = 4 * BACKLOG_B // len(line)
    thread = threading.Thread(target=lambda: [stream.write(line) for _ in range(count)])

    thread.start()
    data = read_all(reader, count * len(line))
    thread.join()

    assert data == line.encode() * count


@pytest.mark.parametrize("fault", ["closed reader", "full device", "closed descriptor"])
def test_a_stream_that_fails_drops_what_is_written(pipe, fault):
    reader, writer = pipe
    if fault == "closed reader":
        os.close(reader)
    elif fault == "full device":
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, writer)
        os.close(full)
    stream = NonBlockingText(writer)
    if fault == "closed descriptor":
        os.close(writer)

    for _ in range(10):
        stream.write("a line\n")
    stream.flush()
    stream.drain(0.1)


def test_the_stream_of_others_keeps_its_blocking_mode(pipe):
    _, writer = pipe

    NonBlockingText(writer).write("a line\n")

    assert os.get_blocking(writer)


def test_a_number_that_user_code_took_over_is_not_written_to(pipe, tmp_path):
    """As after `os.closerange(3, 2000)` in an operation that opens files of its own then."""
    reader, writer = pipe
    own = os.dup(writer)  # the lowest free number, which the stream takes next
    os.close(own)
    stream = NonBlockingText(writer)
    assert os.path.exists(f"/proc/self/fd/{own}")
    file = os.open(tmp_path / "data", os.O_RDWR | os.O_CREAT)
    os.dup2(file, own)

    stream.write("a line\n")

    assert os.read(reader, 100) == b"a line\n"
    assert (tmp_path / "data").read_bytes() == b""
    os.close(file)


def test_a_terminal_that_is_stopped_blocks_nobody():
    master, slave = pty.openpty()
    stream = NonBlockingText(slave)

    for _ in range(200):  # nobody reads the other end, whose buffer takes some kB
        stream.write("x" * 1000 + "\n")

    assert stream.isatty()
    os.close(master)
    os.close(slave)


def test_a_forked_child_does_not_write_the_lines_of_its_parent_again(pipe):
    reader, writer = pipe
    stream = NonBlockingText(writer, may_use_thread=False)
    filler = b"x" * (1 << 20)
    os.set_blocking(writer, False)
    room = os.write(writer, filler)
    os.set_blocking(writer, True)
    stream.write("once\n")

    child = os.fork()
    if child == 0:
        stream.drain(0.2)
        os._exit(0)
    os.waitpid(child, 0)
    assert len(read_all(reader, room)) == room
    stream.drain()

    os.close(writer)
    assert os.read(reader, 100) == b"once\n"


def test_undoing_what_a_parent_left_behind(tmp_path):
    """Closed streams, an ignored SIGCHLD and SIGTERM, a blocked mask: all inherited over exec."""
    script = (
        "import json, os, signal, sys\n"
        "from tsd.observe.streams import prepare_process\n"
        "prepare_process()\n"
        "print('a word'); print('a word', file=sys.stderr)\n"
        "names = ['SIGCHLD', 'SIGTERM', 'SIGHUP']\n"
        "found = {name: signal.getsignal(getattr(signal, name)) is signal.SIG_IGN for name in names}\n"
        "found['blocked'] = len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"
        "found['streams'] = [os.path.exists(f'/proc/self/fd/{n}') for n in (0, 1, 2)]\n"
        f"open({str(tmp_path / 'found')!r}, 'w').write(json.dumps(found))\n"
    )

    def leave_behind():
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1})
        for descriptor in (0, 1, 2):
            os.close(descriptor)

    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, preexec_fn=leave_behind, timeout=30, check=False
    )

    assert ended.returncode == 0
    assert json.loads((tmp_path / "found").read_text()) == {
        "SIGCHLD": False,
        "SIGTERM": False,
        "SIGHUP": True,  # `nohup` means it
        "blocked": 0,
        "streams": [True, True, True],
    }


def test_unblocking_twice_makes_one_stream(monkeypatch, pipe):
    _, writer = pipe
    with os.fdopen(os.dup(writer), "w") as stdout, os.fdopen(os.dup(writer), "w") as stderr:
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "stderr", stderr)
        streams.unblock_streams(may_use_thread=False)
        first = sys.stderr

        streams.unblock_streams()

        assert sys.stderr is first
