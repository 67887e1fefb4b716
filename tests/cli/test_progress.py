import io

from tsd.cli.progress import ProgressView, Snapshot


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_off_a_terminal_there_are_few_plain_lines_and_always_the_last():
    stream = io.StringIO()
    with ProgressView("flights", stream=stream) as view:
        for processed in range(100):
            view.show(Snapshot(status="running", processed=processed, queued=5, workers=2, rate=1500.4))
        view.show(Snapshot(status="completed", processed=100, total=100, failed=1), is_last=True)

    assert stream.getvalue().splitlines() == [
        "flights: running: 0 slices, 1,500/s, 5 queued, 2 workers",
        "flights: completed: 100 of 100 slices, 1 failed, 0/s, 0 queued, 0 workers",
    ]


def test_on_a_terminal_the_line_is_drawn_again_and_said_lines_stay(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    stream = Terminal()
    with ProgressView("flights", stream=stream) as view:
        view.show(Snapshot(status="running", processed=7, queued=5))
        view.say("stopping [after] the running slices")
        view.show(Snapshot(status="running", processed=8, total=9, queued=4))

    output = stream.getvalue()
    assert "running: 7 slices" in output
    assert "running: 8 of 9 slices" in output
    assert "stopping [after] the running slices\n" in output


def test_on_a_narrow_terminal_the_bar_goes_before_a_word_does(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    snapshot = Snapshot(status="failed", processed=12, total=12, failed=1, rate=50, queued=0, workers=1)
    with ProgressView("clean the logs", stream=stream) as view:
        view.show(snapshot)

    assert " clean the logs failed: 12 of 12 slices, 1 failed, 50/s, 0 queued, 1 worker" in stream.getvalue()
    assert "━" not in stream.getvalue()
