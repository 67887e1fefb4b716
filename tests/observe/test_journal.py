"""The native protocol of the journal, spoken to a socket that stands for it."""

import io
import json
import os
import socket
import threading

import pytest
import structlog

from tsd.observe import journal, log
from tsd.setting_sections import LogLevels, TerafoundationSettings


@pytest.fixture
def listener(tmp_path, monkeypatch):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.settimeout(5)
        monkeypatch.setattr(journal, "SOCKET", path)
        yield receiver


@pytest.fixture
def stream(tmp_path, monkeypatch):
    with (tmp_path / "stderr").open("w+") as file:
        status = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        yield file
        log._current().close()
    structlog.reset_defaults()
    log.set_facts({})


def configure(stream):
    levels = LogLevels(console="info", file="info")
    log.configure(TerafoundationSettings(log_level=levels), role="worker", stream=stream)


def fields_of(entry):
    """Fields of an entry, read by the letter of the protocol."""
    fields, rest = {}, io.BytesIO(entry)
    while line := rest.readline():
        name, equals, value = line.rstrip(b"\n").partition(b"=")
        if not equals:
            value = rest.read(int.from_bytes(rest.read(8), "little"))
            assert rest.read(1) == b"\n"
        fields[name.decode()] = value.decode()
    return fields


def test_ids_are_fields_of_their_own_and_the_message_is_the_whole_line(listener, stream):
    configure(stream)
    log.set_facts({"ex_id": "e-1", "job_id": "j-1"})

    structlog.get_logger().warning("slice.retried", slice_id="s-1", node_id=None, reason="two\nlines")

    fields = fields_of(listener.recv(65536))
    assert fields["PRIORITY"] == "4"
    assert fields["SYSLOG_IDENTIFIER"] == "tsd"
    assert (fields["TSD_EVENT"], fields["TSD_EX_ID"]) == ("slice.retried", "e-1")
    assert (fields["TSD_JOB_ID"], fields["TSD_SLICE_ID"]) == ("j-1", "s-1")
    assert "TSD_NODE_ID" not in fields
    assert json.loads(fields["MESSAGE"])["reason"] == "two\nlines"
    stream.seek(0)
    assert stream.read() == ""


def test_half_a_character_does_not_stop_what_logs_it(listener, stream, tmp_path):
    levels = LogLevels(console="info", file="info")
    settings = TerafoundationSettings(log_level=levels, logging=("console", "file"), log_path=tmp_path)
    log.configure(settings, role="worker", stream=stream)

    structlog.get_logger().error("slice.failed", reason="half \ud83d, not UTF-8 \udcff")

    said = json.loads(fields_of(listener.recv(65536))["MESSAGE"])["reason"]
    assert said == "half \ud83d, not UTF-8 \udcff"
    written = (tmp_path / log.LOG_FILE).read_text("utf-8")
    assert json.loads(written)["reason"] == said


def test_a_line_that_is_too_long_for_a_datagram_goes_by_stderr_with_its_priority(listener, stream):
    configure(stream)

    structlog.get_logger().error("record.rejected", record="x" * 5_000_000)

    stream.seek(0)
    line = stream.read()
    assert line.startswith("<3>{")
    assert len(line) > 5_000_000


def test_a_field_may_have_line_feeds():
    entry = journal._field("MESSAGE", "a\nb=c\n") + journal._field("X", "y")

    assert fields_of(entry) == {"MESSAGE": "a\nb=c\n", "X": "y"}


def test_lines_of_other_threads_name_the_execution_too(listener, stream):
    configure(stream)
    log.set_facts({"ex_id": "e-1"}, lambda: "s-9")

    structlog.get_logger().info("from.the.loop")
    thread = threading.Thread(target=structlog.get_logger().info, args=("from.user.code",))
    thread.start()
    thread.join()

    loop, user = fields_of(listener.recv(65536)), fields_of(listener.recv(65536))
    assert (loop["TSD_EX_ID"], loop.get("TSD_SLICE_ID")) == ("e-1", None)
    assert (user["TSD_EX_ID"], user["TSD_SLICE_ID"]) == ("e-1", "s-9")
