"""What people see of `tsd run`: prints of their code, why a job failed, and a debugger in one process."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 90

OPS = """
import signal
import sys

from tsd.operations.base import BatchProcessor, MapProcessor, operation


@operation("price")
class Price(MapProcessor):
    def map(self, record, index, batch):
        print("seen", record["a"])
        print("odd", file=sys.stderr)
        record["b"] = float(record["a"])
        return record


@operation("first")
class First(BatchProcessor):
    def on_batch(self, records):
        return [records[0]]


@operation("stops")
class Stops(BatchProcessor):
    def on_batch(self, records):
        total = sum(record["n"] for record in records)
        breakpoint()
        return records
"""


@pytest.fixture
def stage(tmp_path):
    (tmp_path / "tmp").mkdir()
    (tmp_path / "my_ops.py").write_text(OPS)
    (tmp_path / "tsd.yaml").write_text(
        "teraslice: {workers: 3, shutdown_timeout: 10s}\ntsd: {operation_modules: [my_ops]}\n"
    )
    return tmp_path


def job(stage, text, *operations, **fields):
    (stage / "in.csv").write_text(text)
    reader = {"_op": "file_reader", "format": "csv", "path": str(stage / "in.csv")}
    document = {"name": "a job", "lifecycle": "once", "workers": 1, "max_retries": 0, **fields}
    path = stage / "job.json"
    path.write_text(json.dumps(document | {"operations": [reader, *operations]}))
    return path


def environment(stage):
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{stage}", "TMPDIR": str(stage / "tmp"), "TERM": "xterm"}


def run(stage, *arguments):
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "tsd.cli.main",
            "run",
            "--config",
            str(stage / "tsd.yaml"),
            *map(str, arguments),
        ],
        cwd=stage,
        env=environment(stage),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


def on_terminal(stage, *arguments, answers=(), columns=100):
    """Run it on a terminal and type an answer behind each text that is waited for; its exit code and screen."""
    argv = [
        sys.executable,
        "-m",
        "tsd.cli.main",
        "run",
        "--config",
        str(stage / "tsd.yaml"),
        *map(str, arguments),
    ]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(stage)
        os.execve(argv[0], argv, environment(stage))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    waiting, seen, looked_at = list(answers), b"", 0
    deadline = time.monotonic() + WITHIN_S
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.5)[0]:
                continue
            try:
                seen += os.read(terminal, 65_536)
            except OSError:  # all that had it open have ended
                break
            if waiting and waiting[0][0].encode() in seen[looked_at:]:
                looked_at = len(seen)
                os.write(terminal, waiting.pop(0)[1].encode())
        else:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"no end within {WITHIN_S} s: {seen.decode(errors='replace')}")
    finally:
        os.close(terminal)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, seen.decode(errors="replace")


@pytest.mark.slow
def test_what_code_prints_is_shown_where_it_was_printed_to(stage):
    ended = run(stage, job(stage, "a\n1\n2\n", {"_op": "price"}, {"_op": "stdout"}))

    assert ended.returncode == 0
    assert ended.stdout.splitlines()[:4] == ["seen 1", "seen 2", '{"a":"1","b":1.0}', '{"a":"2","b":2.0}']
    assert re.fullmatch(r"completed: 1 slice, 0 failed, in \d+ s", ended.stdout.splitlines()[-2])
    assert ended.stdout.splitlines()[-1] == "records read: 2"
    assert ended.stderr.splitlines().count("odd") == 2
    assert list((stage / "tmp").iterdir()) == []


@pytest.mark.slow
def test_a_quiet_run_has_nothing_but_prints_on_stdout(stage):
    ended = run(stage, "--quiet", job(stage, "a\n1\n", {"_op": "noop"}, {"_op": "stdout"}))

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, '{"a":"1"}\n', "")


@pytest.mark.slow
def test_a_failed_run_says_why_and_keeps_its_log(stage):
    ended = run(stage, "--quiet", job(stage, "a\n1\nn/a\n", {"_op": "price"}, {"_op": "noop"}))

    assert ended.returncode == 1
    why = "price (operations[1]): ValueError: could not convert string to float: 'n/a' (record 2 of 2)"
    assert f"had 1 slice failure during processing, caused by {why}\n" in ended.stderr
    assert f'File "{stage / "my_ops.py"}", line 13, in map' in ended.stderr
    assert "Traceback" not in ended.stderr
    (kept,) = (stage / "tmp").glob("tsd-run-*")
    assert f"The data folder is {kept}, the daemons' log {kept / 'tsd.log'} (kept for 7 days" in ended.stderr
    assert why in (kept / "tsd.log").read_text()


@pytest.mark.slow
def test_dead_letters_are_told_with_their_reasons_and_stay_in_the_data_folder(stage):
    half = {"_op": "derive", "fields": {"half": "float(a) / 2"}, "_dead_letter_action": "store"}
    ended = run(stage, job(stage, "a\n1\nx\n", half, {"_op": "noop"}))

    assert ended.returncode == 0
    why = 'derive (operations[1]): ValueError: half: float("x"): the text is no number'
    assert f"note: 1 record was rejected\n  {why}\n" in ended.stdout
    (kept,) = (stage / "tmp").glob("tsd-run-*")
    assert (kept / "store.db").is_file()
    assert f"The data folder is {kept}, " in ended.stderr
    assert "(kept for 7 days, as it has dead letters; `tsd up --data-dir FOLDER` serves them" in ended.stderr


@pytest.mark.slow
def test_what_a_reader_cannot_find_is_one_line(stage):
    path = job(stage, "", {"_op": "noop"})
    (stage / "in.csv").unlink()

    ended = run(stage, path)

    assert ended.returncode in {1, 78}
    words = ended.stdout + ended.stderr
    assert "Traceback" not in words
    assert re.search(rf"file_reader \(operations\[0\]\): .*{re.escape(str(stage / 'in.csv'))}", words)


@pytest.mark.slow
def test_input_without_anything_in_it_is_noted(stage):
    ended = run(stage, job(stage, "", {"_op": "noop"}))

    assert ended.returncode == 0
    assert "note: the reader found nothing to read" in ended.stdout


@pytest.mark.slow
def test_a_plain_operation_does_not_fail_when_all_is_over(stage):
    ended = run(stage, "--keep", job(stage, "a\n1\n", {"_op": "first"}, {"_op": "noop"}))

    assert ended.returncode == 0
    (kept,) = (stage / "tmp").glob("tsd-run-*")
    assert "slice.failed" not in (kept / "tsd.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 100])
def test_on_a_terminal_prints_stand_above_the_progress(stage, columns):
    path = job(stage, "a\n1\n", {"_op": "price"}, {"_op": "noop"})

    code, screen = on_terminal(stage, path, columns=columns)

    assert code == 0
    assert "starting a cluster" in screen
    assert re.search(r"(\r|\x1b\[2K|\n)seen 1\r\n", screen)
    assert "completed: 1 slice" in screen.splitlines()[-2]


def test_a_debugger_has_the_terminal_in_one_process(stage):
    path = job(stage, "a\n1\n", {"_op": "noop"})
    document = json.loads(path.read_text())
    document["operations"] = [{"_op": "data_generator", "size": 3, "set_id": "hexadecimal"}, {"_op": "stops"}]
    path.write_text(json.dumps(document))
    (stage / "my_ops.py").write_text(
        OPS.replace('sum(record["n"] for record in records)', "len(records) * 7")
    )

    code, screen = on_terminal(
        stage, "--in-process", path, answers=[("(Pdb)", "p total\n"), ("21", "up\n"), ("(Pdb)", "c\n")]
    )

    assert code == 0, screen
    assert "-> return records" in screen
    assert "completed: 1 slice, 0 failed" in screen


@pytest.mark.parametrize("answer", ["q\n", "\x04"])
def test_leaving_the_debugger_stops_the_job(stage, answer):
    path = job(stage, "a\n1\n", {"_op": "stops"}, max_retries=3)
    (stage / "my_ops.py").write_text(OPS.replace('sum(record["n"] for record in records)', "len(records)"))

    code, screen = on_terminal(stage, "--in-process", path, answers=[("(Pdb)", answer)])

    assert code == 2, screen
    assert screen.count("(Pdb)") == 1
    assert "stopped: " in screen
    assert "Traceback" not in screen


def test_a_job_in_one_process_tells_failures_as_a_cluster_does(stage):
    ended = run(stage, "--in-process", job(stage, "a\n1\nn/a\n", {"_op": "price"}, {"_op": "noop"}))

    assert ended.returncode == 1
    lines = ended.stdout.splitlines()
    assert lines[:2] == ["seen 1", "seen n/a"]
    assert lines[2].startswith("failed: 1 slice, 1 failed, in ")
    assert lines[3].endswith(
        ": price (operations[1]): ValueError: could not convert string to float: 'n/a' (record 2 of 2)"
    )
    assert f'File "{stage / "my_ops.py"}", line 13, in map' in ended.stdout


def test_a_job_in_one_process_that_is_wrong_is_refused(stage):
    ended = run(stage, "--in-process", job(stage, "a\n", {"_op": "no-such-op"}))

    assert ended.returncode == 78
    assert "the job was not taken" in ended.stderr
    assert "no-such-op" in ended.stderr


def test_a_job_in_one_process_is_warned_of_as_in_a_cluster(stage):
    ended = run(stage, "--in-process", job(stage, "a\n1\n", {"_op": "noop", "zzz": 1}))

    assert ended.returncode == 0
    assert ended.stderr.startswith("warning: operations[1].zzz is no option of noop\n")


def test_a_job_in_one_process_releases_what_is_held_at_its_end(stage):
    path = job(stage, "a\n1\n2\n3\n", {"_op": "collect", "size": 100, "wait": 60_000}, {"_op": "stdout"})

    ended = run(stage, "--in-process", "--quiet", path)

    assert (ended.returncode, ended.stdout) == (0, '{"a":"1"}\n{"a":"2"}\n{"a":"3"}\n')


def test_one_process_marks_its_output_as_complete_and_only_when_no_slice_failed(stage):
    writer = {"_op": "file_exporter", "path": str(stage / "out"), "format": "ldjson"}

    assert run(stage, "--in-process", job(stage, "a\n1\n", {"_op": "noop"}, writer)).returncode == 0
    assert (stage / "out" / "_SUCCESS").exists()
    assert run(stage, "--in-process", job(stage, "a\nx\n", {"_op": "price"}, writer)).returncode != 0
    assert not (stage / "out" / "_SUCCESS").exists()


@pytest.mark.slow
def test_ctrl_c_is_heard_while_the_cluster_starts(stage):
    path = job(stage, "a\n1\n", {"_op": "noop"})

    code, screen = on_terminal(stage, path, answers=[("starting a cluster", "\x03")])

    assert code == 2, screen
    assert "stopped before the job began" in screen
    assert "Traceback" not in screen
    assert list((stage / "tmp").iterdir()) == []


@pytest.mark.slow
def test_what_a_killed_run_left_behind_the_next_one_removes(stage):
    path = job(stage, "a\n1\n", {"_op": "delay", "ms": 60_000}, {"_op": "noop"})
    arguments = [sys.executable, "-m", "tsd.cli.main", "run", "--config", str(stage / "tsd.yaml"), str(path)]
    with subprocess.Popen(
        arguments,
        cwd=stage,
        env=environment(stage),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as killed:
        killed.stderr.readline()  # it has something to say, so its cluster runs
        killed.kill()
    (left,) = (stage / "tmp").glob("tsd-run-*")
    lock = os.open(left / "run.lock", os.O_RDWR)
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:  # the cluster follows its command
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(0.1)
    os.close(lock)

    ended = run(stage, job(stage, "a\n1\n", {"_op": "noop"}))

    assert ended.returncode == 0
    assert list((stage / "tmp").iterdir()) == []
