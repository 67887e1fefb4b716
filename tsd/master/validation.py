"""Checking jobs beside the loop: operations are user code, and importing them takes time.

| what a job names | where it is checked |
| --- | --- |
| only what comes with tsd | in a thread of the master: no code of users runs |
| operations of `operation_modules` | in a child that has them imported, and is asked again and again |
| bundles | in a child that is started for this check and ends with it |

Every check has a deadline. A child that has not answered by then is killed, and the job is refused with the
operation and the line where the check was. Checks that take long keep no others waiting (`tsd.master.turns`),
and none keeps the master from ending: `close` gives up those that run.
"""

import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from tsd.errors import AssetError, JobInvalid, NotReady
from tsd.master.assets import AssetService
from tsd.master.checkchild import Question, decode_answer
from tsd.master.childprocess import WITHIN_S, CheckWorker, Child, ask_child
from tsd.master.turns import Turns
from tsd.operations.job import ValidatedJob, asset_identifiers, validate_job
from tsd.operations.qualifiers import AssetNames
from tsd.operations.registry import Registry
from tsd.shown import bare

THREADS_AT_ONCE = 2
"""More would only wait for the interpreter."""
IDLE_MAX = 2
"""Children that are kept for the next job."""
CLOSING_S = 1.0
"""So long checks may go on when the master ends."""


@attrs.define(eq=False)
class _Running:
    """Checks that run now, and the children that wait for the next."""

    idle: list[CheckWorker] = attrs.field(factory=list)
    scopes: set[trio.CancelScope] = attrs.field(factory=set)
    is_closing: bool = False


@attrs.frozen(eq=False, kw_only=True)
class JobChecker:
    """Checks jobs.

    Attributes:
        registry: Where installed operations are found.
        modules: The modules that it knows besides those that come with tsd.
        assets: Where bundles are found.
        connections: Names of the configured connections, of any type.
        cpu_count: For the default number of workers.
        child_within_s: How long a check may take.
    """

    registry: Registry
    modules: Sequence[str]
    assets: AssetService
    connections: frozenset[str]
    cpu_count: int
    child_within_s: int = WITHIN_S
    _limiter: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(THREADS_AT_ONCE), init=False
    )
    _turns: Turns = attrs.field(factory=Turns, init=False)
    _running: _Running = attrs.field(factory=_Running, init=False)

    async def check(self, job: Mapping[str, Any]) -> ValidatedJob:
        """The job with all defaults, and with the ids of the bundles that its `assets` stand for now.

        Raises:
            JobInvalid: With every fault and its path.
            NotReady: The master ends, or too many checks that take long are running.
        """
        with self._registered():
            async with self.assets.prepared(asset_identifiers(job)) as names:
                if names.ids:
                    async with self._turns.one():
                        return await self._check_in_child(job, names)
                if any(self.registry.is_of_users(name) for name in _names_in(job)):
                    async with self._turns.one():
                        return await self._check_in_worker(job, names)
                return await self._check_in_thread(job, names)

    async def close(self) -> None:
        """Give up the checks that run, and end the children; to be called when the master ends."""
        self.hurry()
        while self._running.idle:
            await self._running.idle.pop().close()

    def hurry(self) -> None:
        """Let the checks that run end within `CLOSING_S`."""
        self._running.is_closing = True
        for scope in self._running.scopes:
            scope.deadline = min(scope.deadline, trio.current_time() + CLOSING_S)

    @contextmanager
    def _registered(self) -> Iterator[None]:
        scope = trio.CancelScope()
        if self._running.is_closing:
            scope.deadline = trio.current_time() + CLOSING_S
        self._running.scopes.add(scope)
        try:
            with scope:
                yield
        finally:
            self._running.scopes.discard(scope)
        if scope.cancelled_caught:
            raise NotReady("the master ends, and gave up checking the job")

    # --- the three places ---------------------------------------------------------------------------

    async def _check_in_thread(self, job: Mapping[str, Any], names: AssetNames) -> ValidatedJob:
        check = partial(
            validate_job,
            job,
            registry=self.registry,
            connectors=self.connections,
            cpu_count=self.cpu_count,
            assets=names,
        )
        with trio.move_on_after(self.child_within_s):
            return await trio.to_thread.run_sync(check, limiter=self._limiter, abandon_on_cancel=True)
        raise NotReady(f"checking the job took longer than {self.child_within_s} s, try again later")

    async def _check_in_worker(self, job: Mapping[str, Any], names: AssetNames) -> ValidatedJob:
        async with self._worker() as worker:
            child = await worker.ask(self._question(job, names).encode(), self.child_within_s)
        return self._heard(job, names, child, where="operations", who="the code of the operation modules")

    async def _check_in_child(self, job: Mapping[str, Any], names: AssetNames) -> ValidatedJob:
        child = await ask_child(self._question(job, names).encode(), self.child_within_s)
        return self._heard(job, names, child, where="assets", who="the code of the assets")

    def _question(self, job: Mapping[str, Any], names: AssetNames) -> Question:
        return Question(
            within_s=self.child_within_s,
            job=dict(job),
            modules=tuple(self.modules),
            connections=sorted(self.connections),
            cpu_count=self.cpu_count,
            ids=dict(names.ids),
            faults=dict(names.faults),
            built_in=dict(names.built_in),
            root=str(self.assets.folders.root),
        )

    def _heard(
        self, job: Mapping[str, Any], names: AssetNames, child: Child, *, where: str, who: str
    ) -> ValidatedJob:
        """What a child has found.

        Args:
            job: The job.
            names: What its `assets` stand for.
            child: What became of the child.
            where: The field of the job that is blamed when no operation is.
            who: Whose fault it is then.

        Raises:
            JobInvalid: The job is wrong, or there is no answer.
        """
        path = where
        try:
            return decode_answer(child.last_line)
        except AssetError as error:
            reason = str(error)
        except ValueError:
            at, name = child.checking or ("", "")
            path = at or where
            reason = child.failure(
                "the job was checked",
                within_s=self.child_within_s,
                root=self.assets.folders.root,
                modules=_folders_of(self.modules),
                who=f"the check of {name}" if name else who,
            )
        title = f"Validation failed for job config: {bare(job.get('name', 'undefined'))}"
        raise JobInvalid(title, [(path, reason), *_asset_faults(job, names)])

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[CheckWorker]:
        """A child that no other check uses; afterwards it waits for the next, unless it is spoilt."""
        idle = self._running.idle
        while idle and idle[-1].has_ended:
            await idle.pop().close()
        worker = idle.pop() if idle else await CheckWorker.start()
        try:
            yield worker
        finally:
            is_wanted = len(idle) < IDLE_MAX and not self._running.is_closing
            if is_wanted and not worker.is_spoilt and not worker.has_ended:
                idle.append(worker)
            else:
                await worker.close()


def _names_in(job: Mapping[str, Any]) -> Iterator[str]:
    """The operations and APIs that a job names."""
    for key, name_key in (("operations", "_op"), ("apis", "_name")):
        entries = job.get(key)
        for entry in entries if isinstance(entries, list) else ():
            name = entry.get(name_key) if isinstance(entry, dict) else None
            if isinstance(name, str):
                yield name


def _folders_of(modules: Sequence[str]) -> list[Path]:
    """Where the code of modules is: the folder of a package, or the file of a single module."""
    found = []
    for name in modules:
        top = sys.modules.get(name.partition(".")[0])
        file = getattr(top, "__file__", None) or getattr(sys.modules.get(name), "__file__", None)
        if file is not None:
            path = Path(file)
            found.append(path.parent if path.name == "__init__.py" else path)
    return found


def _asset_faults(job: Mapping[str, Any], names: AssetNames) -> list[tuple[str, str]]:
    return [
        (f"assets[{i}]", names.faults[identifier])
        for i, identifier in enumerate(asset_identifiers(job))
        if identifier in names.faults
    ]
