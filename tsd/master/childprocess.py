"""A process that runs code of users for the master: it is asked, and answers.

What runs in it is `tsd.master.checkchild`. One that runs the code of bundles lives for one question
(`ask_child`), as code that was imported cannot be unloaded. One that runs the code of `operation_modules`,
which are the same in every check, lives until it is not needed (`CheckWorker`).

An answer is a line of JSON. Before it come lines that say which operation is being checked, so that a check
that never ends can be blamed on it. Everything is bounded: the time from the question to the answer, and the
bytes of both. What breaks a bound is killed, with all that it has started.
"""

import json
import linecache
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import attrs
import trio

from tsd.core.execution.deaths import name_of_signal

WITHIN_S = 30
"""How long the code of bundles may take to be imported and to check a job."""

_MORE_S = 5
"""So much more than it has, because Python has to start; then it is ended, if it has not ended itself."""
_ANSWER_B_MAX = 64 * 1024 * 1024
_ANSWER_B_LEAST = 1024 * 1024
"""An answer is the job with its defaults, so what is much larger than the job is none: see `_most`."""
_WORDS_B = 40_000
"""So much of what a child wrote last is kept, for the place where it hung or crashed."""
_LAST_WORDS_S = 0.5
"""So long what a worker wrote before it ended may take to arrive."""
_SHOWN_LENGTH = 2000
"""So much of that is told."""
_STACK = re.compile(r"^(?:Timeout \(|Fatal Python error: |Current thread |Thread 0x)", re.MULTILINE)
_FRAMES = re.compile(r"^.*\(most recent call first\):$", re.MULTILINE)
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in ', re.MULTILINE)
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from tsd.master.checkchild import {entry}; {entry}()"
)
"""The child resolves installed modules as the master does."""


@attrs.define(kw_only=True)
class Child:
    """What became of a child: `words` is what it wrote last; without a `returncode` it was stopped."""

    answer: bytearray = attrs.field(factory=bytearray)
    words: bytes = b""
    returncode: int | None = None
    said_too_much: bool = False

    @property
    def last_line(self) -> bytes:
        """The answer itself.

        Raises:
            ValueError: A line before it is none of a child: the code of users has written there.
        """
        *before, last = bytes(self.answer).rstrip(b"\n").split(b"\n")
        if any(_place_in(line) is None for line in before):
            raise ValueError("what stands before the answer has no known form")
        return last

    @property
    def checking(self) -> tuple[str, str] | None:
        """The place and name of the operation that was being checked; None when that is not known."""
        *whole, _ = bytes(self.answer).split(b"\n")
        places = [_place_in(line) for line in whole]
        return None if None in places or not places else places[-1]

    def failure(
        self,
        what: str,
        *,
        within_s: int,
        root: Path,
        modules: Sequence[Path] = (),
        who: str = "the code of the assets",
    ) -> str:
        """Why there is no answer, with the place in the code where that is known.

        Args:
            what: What was done, as in `the job was checked`.
            within_s: How long it had.
            root: Where the bundles are unpacked.
            modules: Where other code of users is: files, or folders of packages.
            who: What failed.
        """
        if self.said_too_much:
            how = "wrote more than an answer can have"
        elif self.returncode is None or -self.returncode in {signal.SIGALRM, signal.SIGXCPU}:
            how = f"was still running after {within_s} s"
        elif self.returncode < 0:
            how = f"ended by {name_of_signal(-self.returncode)}"
        else:
            how = f"ended its process with exit code {self.returncode}"
        text = self.words.decode("utf-8", "replace")
        stack = _STACK.search(text)
        words = (text if stack is None else text[: stack.start()]).strip()[-_SHOWN_LENGTH:]
        place = "" if stack is None else _place(text[stack.start() :], root, modules)
        return f"{who} {how} when {what}{place}" + (f": {words}" if words else "")


def _place(stacks: str, root: Path, modules: Sequence[Path]) -> str:
    """Where the last of these stacks, which is that of the main thread, has code of users."""
    for file, line in _FRAME.findall(_FRAMES.split(stacks)[-1]):
        path = Path(file)
        if path.is_relative_to(root):  # in a folder that has the id of its bundle as name
            shown = Path(*path.relative_to(root).parts[1:])
        elif owner := next((each for each in modules if path.is_relative_to(each)), None):
            shown = path.relative_to(owner.parent)
        else:
            continue
        code = linecache.getline(file, int(line)).strip()[:200]
        return f", in {shown}, line {line}" + (f": {code}" if code else "")
    return ""


def _place_in(line: bytes) -> tuple[str, str] | None:
    """What a line says is being checked; None when it is no such line."""
    if not line.startswith(b'{"at":'):
        return None
    try:
        match json.loads(line):
            case {"at": [str(path), str(name)]}:
                return path, name
    except ValueError:
        pass
    return None


def _most(question: bytes) -> int:
    """Bytes that an answer may have: every option that is absent is filled in, which makes a job longer."""
    return min(_ANSWER_B_MAX, _ANSWER_B_LEAST + 16 * len(question))


async def start_child(entry: str) -> trio.Process:
    """Start Python with a function of `tsd.master.checkchild`, in a session of its own."""
    return await trio.lowlevel.open_process(
        [sys.executable, "-c", _BOOT.format(entry=entry), json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("NOTIFY_")},
    )


async def end_child(process: trio.Process) -> None:
    """Kill a child and whatever it started; shielded, and short."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with trio.CancelScope(shield=True):
        await process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                await stream.aclose()


async def ask_child(question: bytes, within_s: int) -> Child:
    """Start a child, give it the question, take its answer; whatever it started is ended with it."""
    process = await start_child("main")
    child = Child()
    try:
        with trio.move_on_after(within_s + _MORE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_tell, process, question)
                nursery.start_soon(_listen, process, child, _most(question), nursery)
                nursery.start_soon(_overhear, process, child)
                await process.wait()
                child.returncode = process.returncode
                # Descendants that hold its streams open are not waited for.
                nursery.cancel_scope.deadline = trio.current_time() + 1
    finally:
        await end_child(process)
    return child


@attrs.define(eq=False, kw_only=True)
class CheckWorker:
    """A child that answers one question after the other, for code that is the same in all of them."""

    process: trio.Process
    is_spoilt: bool = False
    """Whether it may still answer an earlier question, so that it must not be asked again."""

    @classmethod
    async def start(cls) -> "CheckWorker":
        """Start one; it imports what a question names when it gets the first."""
        return cls(process=await start_child("serve"))

    async def ask(self, question: bytes, within_s: int) -> Child:
        """Put a question. When there is no whole answer, also when cancelled, the worker is spoilt."""
        child = Child()
        self.is_spoilt = True
        with trio.move_on_after(within_s + _MORE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._note_end, child, nursery)
                nursery.start_soon(_overhear, self.process, child)
                self.is_spoilt = not await self._converse(question, child)
                nursery.cancel_scope.cancel()
        return child

    @property
    def has_ended(self) -> bool:
        """Whether it can answer no more."""
        return self.process.poll() is not None

    async def close(self) -> None:
        """End it, with whatever it has started."""
        await end_child(self.process)

    async def _converse(self, question: bytes, child: Child) -> bool:  # noqa: RET503 - sleeping never returns
        """Whether the answer is whole."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        most = _most(question)
        try:
            await self.process.stdin.send_all(question + b"\n")
        except trio.BrokenResourceError:
            await trio.sleep_forever()  # it has ended, which is noted beside
        line_from = 0
        async for data in self.process.stdout:
            child.answer += data
            if len(child.answer) > most:
                child.answer.clear()
                child.said_too_much = True
                return False
            # Only what came is looked through, and only whole lines.
            while (end := child.answer.find(b"\n", max(line_from, len(child.answer) - len(data)))) >= 0:
                if _place_in(bytes(child.answer[line_from:end])) is None:
                    return end + 1 == len(child.answer)
                line_from = end + 1
        await trio.sleep_forever()

    async def _note_end(self, child: Child, nursery: trio.Nursery) -> None:
        child.returncode = await self.process.wait()
        nursery.cancel_scope.deadline = trio.current_time() + _LAST_WORDS_S


async def _tell(process: trio.Process, question: bytes) -> None:
    assert process.stdin is not None
    with suppress(trio.BrokenResourceError):  # it ended before it had read all
        await process.stdin.send_all(question)
    await process.stdin.aclose()


async def _listen(process: trio.Process, child: Child, most: int, nursery: trio.Nursery) -> None:
    assert process.stdout is not None
    async for data in process.stdout:
        child.answer += data
        if len(child.answer) > most:
            child.answer.clear()
            child.said_too_much = True
            nursery.cancel_scope.cancel()


async def _overhear(process: trio.Process, child: Child) -> None:
    assert process.stderr is not None
    async for data in process.stderr:
        child.words = (child.words + data)[-_WORDS_B:]
