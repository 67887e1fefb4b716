"""A process that runs code of bundles for the master, once: it is asked, answers, and is ended.

What runs in it is `tsd.master.checkchild`.
"""

import json
import linecache
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import attrs
import trio

WITHIN_S = 30
"""How long the code of bundles may take to be imported and to check a job."""

_MORE_S = 5
"""So much more than it has, because Python has to start; then it is ended, if it has not ended itself."""
_ANSWER_B_MAX = 64 * 1024 * 1024
_WORDS_B = 40_000
"""So much of what a child wrote last is kept, for the place where it hung or crashed."""
_SHOWN_LENGTH = 2000
"""So much of that is told."""
_STACK = re.compile(r"^(?:Timeout \(|Fatal Python error: |Current thread |Thread 0x)", re.MULTILINE)
_FRAMES = re.compile(r"^.*\(most recent call first\):$", re.MULTILINE)
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in ', re.MULTILINE)
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);from tsd.master.checkchild import main; main()"
)
"""The child resolves installed modules as the master does."""


@attrs.define(kw_only=True)
class Child:
    """What became of a child: `words` is what it wrote last; without a `returncode` it was stopped."""

    answer: bytes = b""
    words: bytes = b""
    returncode: int | None = None

    def failure(self, what: str, *, within_s: int, root: Path) -> str:
        """Why there is no answer, with the place in the code where that is known.

        Args:
            what: What was done, as in `the job was checked`.
            within_s: How long it had.
            root: Where the bundles are unpacked.
        """
        if self.returncode is None or -self.returncode in {signal.SIGALRM, signal.SIGXCPU}:
            how = f"was still running after {within_s} s"
        elif self.returncode < 0:
            how = f"ended by signal {-self.returncode}"
        else:
            how = f"ended its process with exit code {self.returncode}"
        text = self.words.decode("utf-8", "replace")
        stack = _STACK.search(text)
        words = (text if stack is None else text[: stack.start()]).strip()[-_SHOWN_LENGTH:]
        place = "" if stack is None else _place(text[stack.start() :], root)
        return f"the code of the assets {how} when {what}{place}" + (f": {words}" if words else "")


def _place(stacks: str, root: Path) -> str:
    """Where the last of these stacks, which is that of the main thread, has code of a bundle."""
    for file, line in _FRAME.findall(_FRAMES.split(stacks)[-1]):
        path = Path(file)
        if path.is_relative_to(root):
            code = linecache.getline(file, int(line)).strip()[:200]
            shown = Path(*path.relative_to(root).parts[1:])
            return f", in {shown}, line {line}" + (f": {code}" if code else "")
    return ""


async def ask_child(question: bytes, within_s: int) -> Child:
    """Start a child, give it the question, take its answer; whatever it started is ended with it."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", _BOOT, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("NOTIFY_")},
    )
    child = Child()
    try:
        with trio.move_on_after(within_s + _MORE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_tell, process, question)
                nursery.start_soon(_listen, process, child, nursery)
                nursery.start_soon(_overhear, process, child)
                await process.wait()
                child.returncode = process.returncode
                # Descendants that hold its streams open are not waited for.
                nursery.cancel_scope.deadline = trio.current_time() + 1
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    await stream.aclose()
    return child


async def _tell(process: trio.Process, question: bytes) -> None:
    assert process.stdin is not None
    with suppress(trio.BrokenResourceError):  # it ended before it had read all
        await process.stdin.send_all(question)
    await process.stdin.aclose()


async def _listen(process: trio.Process, child: Child, nursery: trio.Nursery) -> None:
    assert process.stdout is not None
    async for data in process.stdout:
        child.answer += data
        if len(child.answer) > _ANSWER_B_MAX:
            child.answer = b""
            nursery.cancel_scope.cancel()


async def _overhear(process: trio.Process, child: Child) -> None:
    assert process.stderr is not None
    async for data in process.stderr:
        child.words = (child.words + data)[-_WORDS_B:]
