"""What user code prints, as log lines: with the ids of its execution and slice, wherever logs go."""

import io
import sys
import threading
from collections.abc import Callable
from typing import TextIO

import structlog
from typing_extensions import override

from tsd.observe import log

_log = structlog.get_logger()


class PrintedLines(io.TextIOBase):
    """A text stream of which every complete line, and what is flushed, becomes a log line.

    Lines that are written at once stay together, as those of a traceback. Threads may share it.

    Args:
        beneath: The stream that this one stands for; its descriptor and bytes are still to be had.
        take: Called with each text, without its last line feed.
    """

    def __init__(self, beneath: TextIO, take: Callable[[str], None]) -> None:
        super().__init__()
        self._beneath = beneath
        self._take = take
        self._lock = threading.RLock()
        self._begun = ""

    @property
    @override
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in the base
        return "utf-8"

    @property
    def buffer(self) -> "io.BufferedIOBase | object":
        """For bytes; they go by the log."""
        return self._beneath.buffer

    def reconfigure(self, **_options: object) -> None:
        """Programs ask for an encoding or for line buffering; text is logged in whole lines anyway."""

    @override
    def writable(self) -> bool:
        return True

    @override
    def fileno(self) -> int:
        return self._beneath.fileno()

    @override
    def write(self, text: str, /) -> int:
        with self._lock:
            lines, feed, rest = (self._begun + text).rpartition("\n")
            self._begun = rest
        if feed:
            self._take(lines)
        return len(text)

    @override
    def flush(self) -> None:
        with self._lock:
            begun, self._begun = self._begun, ""
        if begun:
            self._take(begun)
        self._beneath.flush()


def capture_prints() -> None:
    """From now on log what this process prints, and the ends of its threads; for people nothing changes.

    Call it after `tsd.observe.log.configure`, which keeps the streams that are there before.
    """
    if sys.stderr.isatty():
        return
    # It was meant to be seen, so the level does not matter.
    sys.stdout = PrintedLines(sys.stdout, lambda text: log.unfiltered().info("code.printed", text=text))
    sys.stderr = PrintedLines(sys.stderr, lambda text: log.unfiltered().warning("code.printed", text=text))
    threading.excepthook = _thread_died


def _thread_died(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit or args.exc_value is None:
        return
    name = args.thread.name if args.thread else ""
    _log.error("code.thread_died", thread=name, exc_info=args.exc_value)
