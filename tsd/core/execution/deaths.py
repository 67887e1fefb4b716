"""Whose fault the end of a worker process is, and how that is told.

The node tells how a worker ended and, from the page that both share, what it was doing:

* *A slice was in work*: it is the cause.
* *None was in work, but some had ended and their results had not arrived*: one of them is the cause, as one
  that leaves a thread behind which ends the process. So it is when the loop of the worker broke. All of them
  are *suspects*: they are counted, and run alone from now on. Only one that was alone is ever put in error
  for it, so no slice pays for another one.
* *It was given up because its link was down*: if it stood still (`was_frozen`), what it had begun is suspect,
  for the thread that runs slices may stand still a moment later than the slice that stopped the process. If
  it did not, only the link was bad, and nothing is blamed.
* *It was not ready yet*: no slice is to blame, and the execution fails when that happens to several in a row
  while no other worker is ready.

A worker that was told to end may have been killed on purpose: its end blames nothing.
"""

from collections.abc import Mapping, Sequence
from signal import Signals

import attrs

from tsd.core.execution.ledger import Slice
from tsd.core.execution.workers import Worker
from tsd.core.messages import OUT_OF_MEMORY, ProcessExit

SUSPECTS_MAX = 32
"""So many at most are suspects, the last ones: each costs a run on a worker that has no other."""


def name_of_signal(number: int) -> str:
    """The number and the name of a signal."""
    try:
        return f"signal {number} ({Signals(number).name})"
    except ValueError:  # of the real-time signals only the first and the last have a name
        return f"signal {number} (SIGRTMIN+{number - Signals.SIGRTMIN})"


def suspects(exit_: ProcessExit, worker: Worker | None, unfinished: Mapping[int, Slice]) -> list[Slice]:
    """The slices that may have ended a worker process which was neither told to end nor given up.

    Args:
        exit_: How it ended.
        worker: The worker, None when it is not connected any more.
        unfinished: The slices that have no result, by number.
    """
    if exit_.running is not None:
        entry = unfinished.get(exit_.running)
        return [entry] if entry is not None and entry.holder in (exit_.proc_id, None) else []
    if worker is None or exit_.behind is None:
        return []
    return [*worker.kept.values(), *_begun(exit_.behind, list(worker.held.values()))][-SUSPECTS_MAX:]


def suspects_of_lost(exit_: ProcessExit, held: Sequence[Slice]) -> list[Slice]:
    """The slices that may have stopped a worker process which was given up.

    Args:
        exit_: How it ended.
        held: What it held then, in the order in which it was handed out, and has no result from elsewhere.
    """
    last = exit_.running if exit_.running is not None else exit_.behind
    return _begun(last, held)[-SUSPECTS_MAX:] if exit_.was_frozen and last is not None else []


def _begun(last: int, held: Sequence[Slice]) -> list[Slice]:
    """Those up to `last`, of slices in the order in which they were handed out and so begun."""
    for index, entry in enumerate(held, start=1):
        if entry.item[0] == last:
            return list(held[:index])
    return []


def told_of(exit_: ProcessExit, deaths: int) -> str:
    """The error of a slice that has ended its workers so often."""
    times = "once" if deaths == 1 else f"{deaths} times"
    if exit_.was_frozen:
        head = (
            f"a worker process that stood still: it had to be given up {times} while it ran this slice,"
            f" at last as {exit_.proc_id}"
        )
    else:
        when = "while it ran this slice" if exit_.running is not None else "just behind this slice"
        head = (
            f"the end of its worker process: it ended {times} {when}, at last with {_how(exit_)}"
            f" as {exit_.proc_id}"
        )
    text = f"Slice failed processing, caused by {head}"
    return f"{text}\n{exit_.detail}" if exit_.detail else text


def _how(exit_: ProcessExit) -> str:
    if exit_.signal is None:
        return f"exit code {exit_.exit_code}"
    hint = ""
    if exit_.detail.startswith(OUT_OF_MEMORY):
        hint = f", {OUT_OF_MEMORY},"
    elif exit_.signal == Signals.SIGKILL:
        hint = ", as the kernel does when memory runs out,"
    return f"{name_of_signal(exit_.signal)}{hint}"


def described(exit_: ProcessExit) -> str:
    """How a worker process ended, in a clause that begins with its name."""
    if exit_.signal is not None:
        how = f"was ended by {name_of_signal(exit_.signal)}"
    elif exit_.exit_code is not None:
        how = f"exited with code {exit_.exit_code}"
    else:
        return (
            f"worker {exit_.proc_id} could not be started"
            if exit_.doing
            else f"worker {exit_.proc_id} is gone"
        )
    doing = f" while {exit_.doing}" if exit_.doing else ""
    return f"worker {exit_.proc_id} {how}{doing}"


@attrs.define(kw_only=True, eq=False)
class Starts:
    """Counts the workers that ended before they were ready, in a row.

    Attributes:
        limit: With more than that, and no worker that is ready, the execution fails.
    """

    limit: int
    _failures: int = 0

    def succeeded(self) -> None:
        """A worker has become ready."""
        self._failures = 0

    def failed(self, exit_: ProcessExit, *, is_any_ready: bool) -> str:
        """A worker ended before it was ready; why the execution has to fail, empty while it has not."""
        self._failures += 1
        if self._failures <= self.limit or is_any_ready:
            return ""
        row = f"; {self._failures} workers in a row ended before they could run a slice"
        text = f"{described(exit_)}{row if self._failures > 1 else ''}"
        return f"{text}\n{exit_.detail}" if exit_.detail else text
