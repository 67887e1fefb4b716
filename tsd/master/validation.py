"""Checking jobs beside the loop: operations are user code, and importing them takes time.

Jobs whose operations are installed are checked in a thread. Those of bundles are checked in a child
(`tsd.master.checkchild`), which is started for each check and ends with it.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import attrs
import trio

from tsd.errors import AssetError, JobInvalid
from tsd.master.assets import AssetService
from tsd.master.checkchild import Question, decode_answer
from tsd.operations.job import AssetNames, ValidatedJob, asset_identifiers, validate_job
from tsd.operations.registry import Registry

CHECKS_AT_ONCE = 2
"""More would only wait for the interpreter."""
CHILD_WITHIN_S = 30
"""How long the code of bundles may take to be imported and to check a job."""

_ANSWER_B_MAX = 64 * 1024 * 1024
_WORDS_B = 2000
"""So much of what a child wrote last is told when it fails."""
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);from tsd.master.checkchild import main; main()"
)
"""The child resolves installed modules as the master does."""


@attrs.frozen(eq=False, kw_only=True)
class JobChecker:
    """Checks jobs.

    Attributes:
        registry: Where installed operations are found.
        modules: The modules that it knows besides those that come with tsd.
        assets: Where bundles are found.
        connections: Names of the configured connections, of any type.
        cpu_count: For the default number of workers.
    """

    registry: Registry
    modules: Sequence[str]
    assets: AssetService
    connections: frozenset[str]
    cpu_count: int
    child_within_s: int = CHILD_WITHIN_S
    _limiter: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(CHECKS_AT_ONCE), init=False
    )
    _children: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(CHECKS_AT_ONCE), init=False
    )

    async def check(self, job: Mapping[str, Any]) -> ValidatedJob:
        """The job with all defaults, and with the ids of the bundles that its `assets` stand for now.

        Raises:
            JobInvalid: With every fault and its path.
        """
        names = AssetNames()
        if identifiers := asset_identifiers(job):
            names = await self.assets.prepare(identifiers)
        if names.ids:
            async with self._children:
                return await self._check_in_child(job, names)
        check = partial(
            validate_job,
            job,
            registry=self.registry,
            connectors=self.connections,
            cpu_count=self.cpu_count,
            assets=names,
        )
        return await trio.to_thread.run_sync(check, limiter=self._limiter)

    async def _check_in_child(self, job: Mapping[str, Any], names: AssetNames) -> ValidatedJob:
        question = Question(
            within_s=self.child_within_s,
            job=dict(job),
            modules=tuple(self.modules),
            connections=sorted(self.connections),
            cpu_count=self.cpu_count,
            ids=dict(names.ids),
            faults=dict(names.faults),
            root=str(self.assets.folders.root),
        )
        child = await _ask_child(question)
        try:
            return decode_answer(child.answer)
        except AssetError as error:
            reason = str(error)
        except ValueError:
            reason = child.failure(self.child_within_s)
        title = f"Validation failed for job config: {job.get('name', 'undefined')}"
        raise JobInvalid(title, [("assets", reason), *_asset_faults(job, names)])


def _asset_faults(job: Mapping[str, Any], names: AssetNames) -> list[tuple[str, str]]:
    return [
        (f"assets[{i}]", names.faults[identifier])
        for i, identifier in enumerate(asset_identifiers(job))
        if identifier in names.faults
    ]


@attrs.define(kw_only=True)
class _Child:
    """What became of a child: `words` is what it wrote last; without a `returncode` it was stopped."""

    answer: bytes = b""
    words: bytes = b""
    returncode: int | None = None

    def failure(self, within_s: int) -> str:
        """Why there is no answer."""
        if self.returncode is None or -self.returncode in {signal.SIGALRM, signal.SIGXCPU}:
            how = f"was still running after {within_s} s"
        elif self.returncode < 0:
            how = f"ended by signal {-self.returncode}"
        else:
            how = f"ended its process with exit code {self.returncode}"
        words = self.words.decode("utf-8", "replace").strip()
        return f"the code of the assets {how} when the job was checked" + (f": {words}" if words else "")


async def _ask_child(question: Question) -> _Child:
    """Start a child, give it the question, take its answer; whatever it started is ended with it."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", _BOOT, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("NOTIFY_")},
    )
    child = _Child()
    try:
        with trio.move_on_after(question.within_s):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_tell, process, question.encode())
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


async def _listen(process: trio.Process, child: _Child, nursery: trio.Nursery) -> None:
    assert process.stdout is not None
    async for data in process.stdout:
        child.answer += data
        if len(child.answer) > _ANSWER_B_MAX:
            child.answer = b""
            nursery.cancel_scope.cancel()


async def _overhear(process: trio.Process, child: _Child) -> None:
    assert process.stderr is not None
    async for data in process.stderr:
        child.words = (child.words + data)[-_WORDS_B:]
