import io
import traceback

import structlog

from tsd.observe import log
from tsd.observe.prints import PrintedLines
from tsd.setting_sections import LogLevels, TerafoundationSettings


def taken(write):
    texts = []
    stream = PrintedLines(io.StringIO(), texts.append)
    write(stream)
    return texts


def test_each_printed_line_is_one_text():
    def write(stream):
        print("one", 2, file=stream)
        print(file=stream)
        print("three", file=stream)

    assert taken(write) == ["one 2", "", "three"]


def test_what_is_written_at_once_stays_together():
    texts = []
    stream = PrintedLines(io.StringIO(), texts.append)
    stream.write("a\nb\nc")

    assert texts == ["a\nb"]


def test_what_is_flushed_does_not_wait_for_its_line_to_end():
    def write(stream):
        print("so far", end="", file=stream, flush=True)
        print(" and on", file=stream)

    assert taken(write) == ["so far", " and on"]


def test_a_traceback_arrives():
    def write(stream):
        traceback.print_exception(ValueError("no good"), file=stream)

    assert taken(write)[-1] == "ValueError: no good"


def test_prints_are_logged_whatever_the_level_with_the_facts_of_the_process():
    stream = io.StringIO()
    levels = LogLevels(console="error", file="error")
    log.configure(TerafoundationSettings(log_level=levels), role="worker", stream=stream)
    log.set_facts({"ex_id": "e-1"})
    try:
        log.unfiltered().info("code.printed", text="hello")
    finally:
        structlog.reset_defaults()
        log.set_facts({})

    assert '"msg": "code.printed"' in stream.getvalue()
    assert '"text": "hello"' in stream.getvalue()
    assert '"ex_id": "e-1"' in stream.getvalue()


def test_what_programs_do_to_their_streams_first_is_allowed():
    taken = []
    stream = PrintedLines(io.TextIOWrapper(io.BytesIO()), taken.append)

    stream.reconfigure(encoding="utf-8", errors="replace", line_buffering=True)
    print("ready", file=stream)

    assert (taken, stream.isatty()) == (["ready"], False)
