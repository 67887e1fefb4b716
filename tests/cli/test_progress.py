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
