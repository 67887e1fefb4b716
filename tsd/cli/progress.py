"""How a running job is shown: a live line on a terminal, a plain line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self, TextIO

import attrs
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from tsd.observe.streams import print_to

PLAIN_EVERY_S = 2.0
_NAME_WIDTH = 24
_BAR_WIDTH = 16
_GAPS = 5
"""The spinner, and the spaces between the columns."""


@attrs.frozen(kw_only=True)
class Snapshot:
    """How far a job is.

    Attributes:
        total: Number of slices, None while the slicers still make some.
        rate: Slices a second since the snapshot before.
    """

    status: str
    processed: int = 0
    failed: int = 0
    queued: int = 0
    workers: int = 0
    total: int | None = None
    rate: float = 0.0

    def words(self) -> str:
        """One line of plain text."""
        of_total = f" of {self.total:,}" if self.total is not None else ""
        failed = f", {self.failed:,} failed" if self.failed else ""
        return (
            f"{self.status}: {self.processed:,}{of_total} slices{failed}, {self.rate:,.0f}/s,"
            f" {self.queued:,} queued, {self.workers} {'worker' if self.workers == 1 else 'workers'}"
        )


class ProgressView:
    """Shows snapshots until the block ends; writes to stderr so that stdout stays for results.

    Args:
        name: Of the job.
        stream: Where the progress goes; stderr by default.
        quiet: Show no progress, and say only what is wrong.
    """

    def __init__(self, name: str, *, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._name = name
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._live: Live | None = None
        self._spinner = Spinner("dots")
        self._shown_at = float("-inf")
        self._shown = ""
        if self._stream.isatty() and not quiet:
            console = Console(file=self._stream)
            self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, snapshot: Snapshot, *, is_last: bool = False) -> None:
        """Show how far the job is; on no terminal only every other second, and the last one."""
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(self._line(snapshot, self._live.console.width), refresh=True)
            return
        now = time.monotonic()
        words = snapshot.words()
        if (is_last or now - self._shown_at >= PLAIN_EVERY_S) and words != self._shown:
            print_to(self._stream, f"{self._name}: {words}")
            self._shown_at, self._shown = now, words

    def wait(self, words: str) -> None:
        """Show what is waited for; on a terminal only, and until something else is shown."""
        if self._live is not None:
            line = Table.grid(padding=(0, 1))
            line.add_column(no_wrap=True)
            line.add_column(no_wrap=True, overflow="ellipsis")
            line.add_row(self._spinner, words)
            self._live.update(line, refresh=True)

    def spin(self) -> None:
        """Move on the sign that something goes on."""
        if self._live is not None:
            self._live.refresh()

    def print(self, text: str, *, to_stderr: bool) -> None:
        """Text of the code of a job, on the stream that it was printed to, as it was printed."""
        stream = self._stream if to_stderr else sys.stdout
        if self._live is not None and stream.isatty():
            # Above the live line, which is on the same terminal.
            self._live.console.print(Text.from_ansi(text), soft_wrap=True)
        else:
            print_to(stream, text)

    def say(self, text: str, *, is_fault: bool = False) -> None:
        """A line that stays; when it is quiet only a fault is said."""
        if self._quiet and not is_fault:
            return
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print_to(self._stream, text)

    def _line(self, snapshot: Snapshot, width: int) -> Table:
        words = snapshot.words()
        line = Table.grid(padding=(0, 1))
        line.add_column(no_wrap=True)
        line.add_column(no_wrap=True, overflow="ellipsis", max_width=_NAME_WIDTH)
        if width - len(words) - min(len(self._name), _NAME_WIDTH) - _GAPS < _BAR_WIDTH:
            # Words say more than a bar.
            line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
            line.add_row(self._spinner, self._name, words)
            return line
        line.add_column(no_wrap=True)
        line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        bar = ProgressBar(
            total=snapshot.total or None,
            completed=snapshot.processed,
            width=_BAR_WIDTH,
            pulse=not snapshot.total,
        )
        line.add_row(self._spinner, self._name, bar, words)
        return line
