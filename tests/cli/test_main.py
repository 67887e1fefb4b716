"""The ends of commands: usage, Ctrl-C, readers that go away, and the width of a terminal."""

import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from fcntl import ioctl

import pytest

TSD = [sys.executable, "-m", "tsd.cli.main"]


@pytest.mark.parametrize("arguments", [["ops", "list"], ["ops", "schema"], ["--help"], ["config", "show"]])
def test_a_reader_that_has_gone_is_nothing_to_tell(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*TSD, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    finally:
        os.close(writing)

    assert (done.returncode, done.stderr) == (141, "")


def test_output_that_cannot_be_written_is_told():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*TSD, "ops", "list"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )

    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--version"], 0, "tsd, version"),
        (["nosuch"], 2, "No such command 'nosuch'"),
        (["run"], 2, "Missing argument 'JOB'"),
        (["ops", "show", "nosuch"], 1, "there is no operation or API named nosuch"),
    ],
)
def test_exit_codes_are_those_of_the_command(arguments, code, words):
    done = subprocess.run([*TSD, *arguments], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == code
    assert words in done.stdout + done.stderr


def on_terminal(columns, *arguments):
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    shown = b""
    with subprocess.Popen([*TSD, *arguments], stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            while part := os.read(ours, 65_536):
                shown += part
        except OSError:  # the other side has no end any more
            pass
        process.wait(60)
    os.close(ours)
    return shown.decode().splitlines()


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize(
    "arguments", [["ops", "list"], ["ops", "show", "derive"], ["ops", "show", "file_reader"]]
)
def test_operations_are_shown_in_the_width_of_the_terminal(columns, arguments):
    lines = on_terminal(columns, *arguments)

    assert len(lines) > 10
    assert max(map(len, lines)) <= columns


def test_the_list_has_one_line_for_each_operation_where_no_terminal_is():
    done = subprocess.run([*TSD, "ops", "list"], capture_output=True, text=True, timeout=60, check=True)

    (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == ["accumulate"]]
    assert line.endswith("as one window.")


def test_a_daemon_ends_well_although_the_reader_of_its_output_has_gone(tmp_path):
    """Daemons put a stream of their own in the place of stdout."""
    (tmp_path / "tsd.yaml").write_text("teraslice: {port: 0, workers: 1}\ntsd: {mesh_port: 0}\n")
    with subprocess.Popen(
        [*TSD, "up", "--config", str(tmp_path / "tsd.yaml"), "--data-dir", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as up:
        assert "tsd is up" in up.stdout.readline()
        up.stdout.close()
        up.send_signal(signal.SIGTERM)
        assert up.wait(60) == 0
