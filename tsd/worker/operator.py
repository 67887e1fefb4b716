"""The one thread of a worker that runs user code, and the two queues between it and the trio loop.

The way in and the way out are deques, whose single operations are atomic. The loop appends slices on the
right and the thread takes them from the left, so while slices wait no lock, hop or wake-up is paid for
one. What is taken back is popped from the right. Since every pop gives an item to one side only, a slice is
either run or given back, never both.

The thread wakes the loop at most once until the loop has looked.
"""

import contextlib
import contextvars
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NoReturn, Protocol

import attrs
import trio

from tsd.core.letters import SLICE_LETTERS_B_MAX, SLICE_LETTERS_MAX
from tsd.core.messages import SliceItem
from tsd.error_texts import error_text
from tsd.observe.blackbox import CRASHED, BlackBox
from tsd.observe.log import IN_USER_CODE
from tsd.operations.context import Interrupted
from tsd.operations.forked import HERE, leave
from tsd.operations.outcome import SliceOutcome
from tsd.operations.slice import Slice


class Chain(Protocol):
    """What the thread runs; `tsd.operations.pipeline.Pipeline` is the one there is."""

    @property
    def wants_finished(self) -> bool:
        """Whether `finished` does anything."""
        ...

    @property
    def records_read(self) -> int:
        """Records that the fetcher gave so far."""
        ...

    @property
    def runs_user_code(self) -> bool:
        """Whether some part of it is not tsd's own."""
        ...

    @property
    def may_hold(self) -> bool:
        """Whether some operation may hold records of a slice back when it has been run."""
        ...

    @property
    def slice_number(self) -> int:
        """How many slices were begun."""
        ...

    def held_since(self) -> int | None:
        """The number of the oldest slice of which records are held back; None when none are."""
        ...

    def initialize(self) -> None:
        """Make ready."""

    def run(self, slice_: Slice) -> SliceOutcome:
        """Run one slice."""
        ...

    def finished(self, slice_id: str) -> None:
        """Hear that a completed slice was taken in by the controller."""

    def flush(self) -> SliceOutcome | None:
        """Release what operations hold back."""
        ...

    def shutdown(self) -> None:
        """Clean up."""


@attrs.frozen(kw_only=True)
class Opened:
    """The chain is ready, or could not be made so.

    Attributes:
        error: Why not: what was raised, as text; empty when it is ready.
        wants_finished: It wants to hear of slices that were taken in.
    """

    error: str = ""
    wants_finished: bool = False


@attrs.frozen
class Ran:
    """A slice has ended; the time of one that was kept was told before."""

    number: int
    outcome: SliceOutcome
    busy_us: int


@attrs.frozen
class Kept:
    """A slice was run, and an operation holds records of it back; `Ran` or `Interruption` follows."""

    number: int
    busy_us: int


@attrs.frozen
class ChainFlushed:
    """Answer to `flush`: what came of it; None when there was nothing to release."""

    outcome: SliceOutcome | None


@attrs.frozen
class Interruption:
    """The slice was put down in a hurry: it is not done, and has not failed."""

    number: int


@attrs.frozen
class Closed:
    """The chain has shut down, and the thread ends."""


@attrs.frozen(kw_only=True)
class Crashed:
    """User code ended the thread, as `sys.exit` does: the slice in work killed its worker."""

    error: str


_NOT_RELEASED = "an operation held records back that a flush did not release"

Word = Opened | Ran | Kept | Interruption | ChainFlushed | Closed | Crashed
"""What the thread says to the loop."""


class Operator:
    """Runs slices one after another in a thread of its own.

    All methods are for the trio loop, but those that say that they are for the thread.

    Args:
        ex_id: The execution, whose own slices carry no id of it.
        make_chain: Builds the chain; called in the thread, as all user code.
        box: Where the number of the running slice is kept for those who outlive us.
        on_words: Called in the loop when `words` has something.
    """

    def __init__(
        self, *, ex_id: str, make_chain: Callable[[], Chain], box: BlackBox, on_words: Callable[[], None]
    ) -> None:
        self._ex_id = ex_id
        self._make_chain = make_chain
        self._box = box
        self._on_words = on_words
        self._token = trio.lowlevel.current_trio_token()
        self._waiting: deque[SliceItem] = deque()
        self._taken_in: deque[str] = deque()
        self._words: deque[Word] = deque()
        self._is_woken = False
        self._wants_flush = False
        self._is_closing = False
        self._hurry = threading.Event()
        # A binary semaphore: the thread sleeps on it, the loop releases it.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._running: tuple[int, float] | None = None
        self._chain: Chain | None = None
        self._is_broken = False
        # What was run and is not done yet: number of the slice in the chain, and what became of it.
        self._kept: deque[tuple[int, Ran]] = deque()
        # What the task has bound for its log lines holds for those of user code too.
        bound = contextvars.copy_context()
        bound.run(IN_USER_CODE.set, True)
        self._thread = threading.Thread(target=bound.run, args=(self._work,), name="operations", daemon=True)

    def start(self) -> None:
        """Build and initialize the chain in the thread; `Opened` follows."""
        self._thread.start()

    @property
    def running(self) -> tuple[int, float] | None:
        """Number of the slice in work and when it began, on `time.monotonic`; None between slices."""
        return self._running

    @property
    def waiting_count(self) -> int:
        """How many slices were not begun."""
        return len(self._waiting)

    @property
    def records_read(self) -> int:
        """How many records the chain has read."""
        return 0 if self._chain is None else self._chain.records_read

    def add(self, items: Iterable[SliceItem]) -> None:
        """Run these after what waits already."""
        self._waiting.extend(items)
        self._ring()

    def take_back(self, count: int) -> list[SliceItem]:
        """Take up to `count` slices that were not begun out of the queue; -1 for all.

        Returns:
            Them, newest first; they will not be run.
        """
        taken: list[SliceItem] = []
        while len(taken) != count:
            try:
                taken.append(self._waiting.pop())
            except IndexError:
                break
        return taken

    def drop(self, numbers: Iterable[int]) -> None:
        """Take these slices out of the queue unless they were begun."""
        unwanted = set(numbers)
        self.add(item for item in reversed(self.take_back(-1)) if item[0] not in unwanted)

    def tell_finished(self, slice_ids: Iterable[str]) -> None:
        """Have the chain told, between slices, that these were taken in as completed."""
        self._taken_in.extend(slice_ids)
        self._ring()

    def flush(self) -> None:
        """Flush the chain after what waits; `ChainFlushed` follows."""
        self._wants_flush = True
        self._ring()

    def close(self) -> None:
        """Shut the chain down after what waits, and end; `Closed` follows."""
        self._is_closing = True
        self._ring()

    def hurry(self) -> None:
        """Drop what waits and cut waits of operations and retries short."""
        self.take_back(-1)
        self._hurry.set()

    def words(self) -> list[Word]:
        """What the thread has said since the last call, in order."""
        # First, so that a word said while we look wakes us again.
        self._is_woken = False
        words: list[Word] = []
        while self._words:
            words.append(self._words.popleft())
        return words

    def sleep(self, seconds: float) -> None:
        """For the thread: wait.

        Raises:
            Interrupted: The worker is in a hurry.
        """
        if self._hurry.wait(seconds):
            raise Interrupted("the worker is stopping")

    def note_doing(self, what: str) -> None:
        """For the thread: say in words what user code does from now on that is no slice; empty for none."""
        if not self._box.is_intact():
            self._end_without_descriptors()
        self._box.note_doing(what)

    def _ring(self) -> None:
        # Only this side releases, so it stays locked after the look unless it was released already.
        if self._bell.locked():
            self._bell.release()

    def _say(self, word: Word) -> None:
        self._words.append(word)
        if not self._is_woken:
            self._is_woken = True
            self._token.run_sync_soon(self._on_words)

    def _work(self) -> None:
        try:
            self._live()
        except trio.RunFinishedError:
            return  # the loop has ended, and with it the process
        except BaseException as error:  # noqa: BLE001  the last frame of the thread: nobody above could take it
            if HERE.is_child:
                leave()
            with contextlib.suppress(trio.RunFinishedError):
                self._say(Crashed(error=error_text(error)))

    def _live(self) -> None:
        chain: Chain | None = None
        try:
            chain = self._chain = self._make_chain()
            chain.initialize()
        except BaseException as error:  # noqa: BLE001  the seam to user code: the worker can not start
            if HERE.is_child:
                leave()
            self._say(Opened(error=_why_not_begun(error)))
        else:
            if HERE.is_child:
                leave()
            self.note_doing("")
            self._say(Opened(wants_finished=chain.wants_finished))
            self._serve(chain)
        if chain is not None:
            chain.shutdown()
        self._say(Closed())

    def _serve(self, chain: Chain) -> None:
        while True:
            # Before the look at the queue: what was added before `close` was called is run.
            is_closing = self._is_closing
            self._run_waiting(chain)
            if self._wants_flush:
                self._wants_flush = False
                self._flush(chain)
            elif is_closing:
                return
            else:
                self._bell.acquire()

    def _flush(self, chain: Chain) -> None:
        self._flush_and_tell(chain)
        self.note_doing("")

    def _flush_and_tell(self, chain: Chain) -> None:
        self.note_doing("flushing")
        try:
            outcome = chain.flush()
        except Interrupted:
            self._end_kept(lambda ran: Interruption(ran.number))
            self._say(ChainFlushed(None))
            return
        except Exception as error:  # noqa: BLE001  the seam to user code: `held_since` of an operation
            outcome = SliceOutcome(state="error", error=error_text(error))
        if outcome is None:
            outcome = SliceOutcome(state="completed")
        if outcome.state == "completed":
            oldest, fault = _held_since(chain)
            if fault or oldest is not None:
                outcome = attrs.evolve(outcome, state="error", error=fault or _NOT_RELEASED)
        outcome = self._hand_letters_on(outcome)
        if outcome.state == "completed":
            self._note_flush(outcome, chain.slice_number)
            self._end_kept(lambda ran: ran)
        else:
            self._end_kept(lambda ran: attrs.evolve(ran, outcome=_failed_by(outcome, ran.outcome)))
        self._say(ChainFlushed(outcome))

    def _hand_letters_on(self, outcome: SliceOutcome) -> SliceOutcome:
        """Give the dead letters of a flush to the last kept slice, with which they are stored."""
        if not outcome.letters or not self._kept:
            return outcome
        number, ran = self._kept[-1]
        letters = [*(ran.outcome.letters or ()), *outcome.letters]
        if len(letters) > SLICE_LETTERS_MAX or sum(map(len, letters)) > SLICE_LETTERS_B_MAX:
            return outcome
        with_them = attrs.evolve(ran.outcome, letters=letters)
        self._kept[-1] = (number, attrs.evolve(ran, outcome=with_them))
        return attrs.evolve(outcome, letters=None)

    def _note_flush(self, outcome: SliceOutcome, last_number: int) -> None:
        """The flush carries on the last slice: its analytics are of both."""
        if outcome.analytics is not None and self._kept and self._kept[-1][0] == last_number:
            number, ran = self._kept.pop()
            both = attrs.evolve(ran.outcome, analytics=outcome.analytics)
            self._kept.append((number, attrs.evolve(ran, outcome=both)))

    def _end_kept(self, word_of: Callable[[Ran], Word], before: int | None = None) -> None:
        """Say what became of the kept slices; of those before a number, or of all."""
        while self._kept and (before is None or self._kept[0][0] < before):
            self._say(word_of(self._kept.popleft()[1]))

    def _keep_or_say(self, chain: Chain, ran: Ran) -> None:
        """Say that a slice has ended, unless an operation holds records back that may be of it."""
        oldest, fault = _held_since(chain)
        if fault:
            # Which slices are done is not known any more: this one is in error, earlier ones stay kept.
            failed = attrs.evolve(ran.outcome, state="error", error=fault, analytics=None)
            self._say(attrs.evolve(ran, outcome=failed))
            return
        self._end_kept(lambda ran: ran, before=oldest)
        if oldest is None or ran.outcome.state != "completed":
            self._say(ran)
            return
        self._kept.append((chain.slice_number, attrs.evolve(ran, busy_us=0)))
        self._say(Kept(ran.number, ran.busy_us))

    def _run_waiting(self, chain: Chain) -> None:
        """Run until nothing waits, or until the chain can not go on."""
        take, mark, clear, run = self._waiting.popleft, self._box.mark, self._box.clear, chain.run
        now, ex_id, is_intact = time.monotonic, self._ex_id, self._box.is_intact
        # A look at a descriptor lets go of the interpreter, which costs a tenth of a short slice.
        looks = chain.runs_user_code
        while not self._is_broken:
            if self._taken_in:
                chain.finished(self._taken_in.popleft())
                continue
            try:
                number, slicer_id, order, request, other_ex_id, slice_id = take()
            except IndexError:
                return
            mark(number)
            began = now()
            self._running = (number, began)
            slice_ = Slice(
                ex_id=other_ex_id or ex_id,
                slicer_id=slicer_id,
                slicer_order=order,
                request=request,
                slice_id=slice_id,
            )
            try:
                outcome = run(slice_)
            except Interrupted:
                self._running = None
                clear()
                self._say(Interruption(number))
                continue
            if HERE.is_child:
                leave()
            if looks and not is_intact():
                self._end_without_descriptors()
            self._is_broken = outcome.is_fatal
            ran = Ran(number, outcome, round((now() - began) * 1e6))
            self._running = None
            clear()
            if chain.may_hold:
                self._keep_or_say(chain, ran)
            else:
                self._say(ran)

    def _end_without_descriptors(self) -> NoReturn:
        """User code has closed what the process needs; it is still marked as being at work."""
        self._box.say(
            "OperationError: user code has closed file descriptors that are not its own, as os.closerange()"
            " does: its worker can not go on"
        )
        os._exit(CRASHED)


def _why_not_begun(error: BaseException) -> str:
    if isinstance(error, Exception):
        return error_text(error)
    return f"an operation tried to end its process while it was initialized, caused by {error_text(error)}"


def _held_since(chain: Chain) -> tuple[int | None, str]:
    """The oldest slice of which records are held back, or why an operation did not say."""
    try:
        return chain.held_since(), ""
    except Exception as error:  # noqa: BLE001  the seam to user code
        return None, error_text(error)


def _failed_by(flush: SliceOutcome, outcome: SliceOutcome) -> SliceOutcome:
    """What became of a slice whose records were lost in a flush that failed."""
    error = f"The flush that was to release its records failed, caused by {flush.error}"
    return attrs.evolve(outcome, state="error", error=error, analytics=None)
