import io
import json
import logging
import os
import socket
import warnings

import pytest
import structlog

from tsd.errors import ConfigError
from tsd.observe import log
from tsd.setting_sections import LogLevels, TerafoundationSettings


@pytest.fixture(autouse=True)
def _fresh_logs():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def machine_lines(level="info", **kwargs):
    stream = io.StringIO()
    levels = LogLevels(console=level, file=level)
    log.configure(TerafoundationSettings(log_level=levels), role="node", stream=stream, **kwargs)
    return stream


def read(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_line_is_one_json_object_with_the_keys_that_log_readers_know():
    """Conformance point 29 of the cluster facts."""
    stream = machine_lines()

    structlog.get_logger().warning("node.lost", node_id="n1")

    (line,) = read(stream)
    assert line["msg"] == "node.lost"
    assert line["node_id"] == "n1"
    assert line["role"] == "node"
    assert line["hostname"] == socket.gethostname()
    assert line["pid"] == os.getpid()
    assert line["level"] == 40
    assert line["time"].endswith("Z")


def test_a_fact_does_not_take_the_place_of_what_every_line_says():
    stream = machine_lines()

    structlog.get_logger().info("process.started", pid=1, name="x")

    (line,) = read(stream)
    assert (line["pid"], line["name"]) == (os.getpid(), "tsd")
    assert (line["about_pid"], line["about_name"]) == (1, "x")


def test_bound_ids_stand_in_every_line():
    stream = machine_lines()

    structlog.contextvars.bind_contextvars(ex_id="e1", job_id="j1")
    structlog.get_logger().info("execution.started")

    assert [(line["ex_id"], line["job_id"]) for line in read(stream)] == [("e1", "j1")]


def test_lines_below_the_level_are_not_written_until_the_level_changes():
    stream = machine_lines("warn")
    logger = structlog.get_logger()

    logger.info("a.hidden")
    log.set_level("trace")
    logger.debug("b.shown")

    assert [line["msg"] for line in read(stream)] == ["b.shown"]


def test_what_looks_like_a_secret_is_hidden_at_any_depth():
    stream = machine_lines()

    structlog.get_logger().info(
        "connector.opened",
        api_key="k1",
        settings={"password": "p1", "hosts": [{"Authorization": "b1", "port": 1}], "token": ""},
    )

    assert not any(secret in stream.getvalue() for secret in ("k1", "p1", "b1"))
    (line,) = read(stream)
    assert line["settings"] == {
        "password": "***",
        "hosts": [{"Authorization": "***", "port": 1}],
        "token": "",
    }


def test_a_traceback_names_all_members_of_a_group_and_no_local_values():
    stream = machine_lines()

    def fail():
        password = "hunter2"  # noqa: F841 - it must not be seen
        raise ExceptionGroup("two", [ValueError("first"), KeyError("second")])

    try:
        fail()
    except ExceptionGroup:
        structlog.get_logger().exception("task.failed")

    text = stream.getvalue()
    assert "first" in text
    assert "second" in text
    assert "hunter2" not in text


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("not telling")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("bad"), "ValueError: bad"),
        (KeyError(), "KeyError"),
        (ValueError("to http://me:secret@host failed"), "ValueError: to http://me:***@host failed"),
        (ValueError("caf\udce9"), "ValueError: caf\\udce9"),
        (Unspeakable(), "Unspeakable: (its text cannot be shown, __str__ raised RuntimeError)"),
    ],
    ids=range(5),
)
def test_a_line_with_an_exception_says_first_what_happened(error, reason):
    stream = machine_lines()

    structlog.get_logger().error("task.failed", exc_info=error)

    (line,) = read(stream)
    assert line["reason"] == reason
    assert list(line).index("reason") < list(line).index("exception")


def test_an_exception_of_many_megabytes_is_a_line_of_some_kilobytes():
    stream = machine_lines()
    error = ExceptionGroup(
        "g" * 1_000_000, [ValueError("x" * 10_000_000), *(KeyError(n) for n in range(3_000))]
    )
    for number in range(500):
        above = ValueError(str(number))
        above.__cause__, error = error, above
    error.add_note("n" * 1_000_000)

    structlog.get_logger().error("task.failed", exc_info=error)

    assert len(stream.getvalue()) < 100_000


def test_people_read_an_exception_as_it_is_told_everywhere():
    stream = machine_lines(console=True)

    structlog.get_logger().error("task.failed", exc_info=ValueError("one\x1b[31m"))

    assert "ValueError: one\\x1b[31m" in stream.getvalue()


def test_people_get_a_readable_line():
    stream = machine_lines(console=True)

    structlog.get_logger().info("execution.started", ex_id="e1")

    assert "execution.started" in stream.getvalue()
    assert "ex_id=e1" in stream.getvalue()
    with pytest.raises(ValueError):
        json.loads(stream.getvalue())


def test_a_log_file_has_its_own_level(tmp_path):
    stream = io.StringIO()
    settings = TerafoundationSettings(
        logging=("console", "file"), log_path=tmp_path, log_level=LogLevels(console="error", file="debug")
    )
    log.configure(settings, role="master", stream=stream)

    structlog.get_logger().debug("frame.sent")
    structlog.get_logger().error("store.failed")

    assert [line["msg"] for line in read(stream)] == ["store.failed"]
    lines = (tmp_path / "tsd.log").read_text().splitlines()
    assert [json.loads(line)["msg"] for line in lines] == ["frame.sent", "store.failed"]
    log.configure(TerafoundationSettings(), role="master", stream=stream)


def test_what_libraries_log_and_warn_of_is_passed_on():
    stream = machine_lines()

    logging.getLogger("hypercorn.error").error("port %d is taken", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    first, second = read(stream)
    assert (first["library"], first["message"]) == ("hypercorn.error", "port 1 is taken")
    assert second["library"] == "py.warnings"


def test_a_terminal_that_is_gone_does_not_end_the_daemon():
    read_end, write_end = os.pipe()
    os.close(read_end)
    stream = io.TextIOWrapper(os.fdopen(write_end, "wb", 0), write_through=True)
    log.configure(TerafoundationSettings(), role="node", stream=stream)

    structlog.get_logger().info("node.started")

    with pytest.raises(BrokenPipeError):
        stream.write("the pipe is really broken")
    stream.close()


def test_journald_gets_the_priority_of_each_line(tmp_path, monkeypatch):
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        log.configure(TerafoundationSettings(), role="node", stream=stream)

        structlog.get_logger().error("store.failed")

        stream.seek(0)
        assert stream.read().startswith('<3>{"name"')


def file_settings(folder, **more):
    return TerafoundationSettings(logging=("file",), log_path=folder, **more)


def messages(path):
    return [json.loads(line)["msg"] for line in path.read_text().splitlines()]


def test_a_log_file_that_was_renamed_is_made_again(tmp_path):
    log.configure(file_settings(tmp_path), role="node")
    structlog.get_logger().info("first")
    (tmp_path / "tsd.log").rename(tmp_path / "tsd.log.1")

    structlog.get_logger().info("second")

    assert messages(tmp_path / "tsd.log.1") == ["first"]
    assert messages(tmp_path / "tsd.log") == ["second"]


def test_a_log_file_that_was_removed_is_made_again(tmp_path):
    log.configure(file_settings(tmp_path), role="node")
    (tmp_path / "tsd.log").unlink()

    structlog.get_logger().info("first")

    assert messages(tmp_path / "tsd.log") == ["first"]


def test_a_log_file_that_was_cut_goes_on_at_its_start(tmp_path):
    log.configure(file_settings(tmp_path), role="node")
    structlog.get_logger().info("first")
    os.truncate(tmp_path / "tsd.log", 0)

    structlog.get_logger().info("second")

    assert messages(tmp_path / "tsd.log") == ["second"]


def test_the_folder_of_the_log_file_is_made(tmp_path):
    log.configure(file_settings(tmp_path / "data"), role="node")

    structlog.get_logger().info("first")

    assert messages(tmp_path / "data" / "tsd.log") == ["first"]
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_log_file_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "tsd.log").mkdir()

    with pytest.raises(
        ConfigError, match=rf"terafoundation.log_path: {tmp_path}/tsd.log cannot be written: Is a"
    ):
        log.configure(file_settings(tmp_path), role="node")


def test_a_folder_that_goes_away_costs_lines_and_nothing_else(tmp_path):
    folder = tmp_path / "logs"
    log.configure(file_settings(folder), role="node")
    (folder / "tsd.log").unlink()
    folder.rmdir()

    structlog.get_logger().info("lost")
    folder.mkdir()
    structlog.get_logger().info("back")

    assert messages(folder / "tsd.log") == ["back"]
