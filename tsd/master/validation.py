"""Checking jobs beside the loop: operations are user code, and importing them takes time.

Jobs whose operations are installed are checked in a thread. Those of bundles are checked in a child
(`tsd.master.checkchild`), which is started for each check and ends with it.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import trio

from tsd.errors import AssetError, JobInvalid
from tsd.master.assets import AssetService
from tsd.master.checkchild import Question, decode_answer
from tsd.master.childprocess import WITHIN_S, ask_child
from tsd.operations.job import AssetNames, ValidatedJob, asset_identifiers, validate_job
from tsd.operations.registry import Registry

CHECKS_AT_ONCE = 2
"""More would only wait for the interpreter."""


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
    child_within_s: int = WITHIN_S
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
        async with self.assets.prepared(asset_identifiers(job)) as names:
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
        child = await ask_child(question.encode(), self.child_within_s)
        try:
            return decode_answer(child.answer)
        except AssetError as error:
            reason = str(error)
        except ValueError:
            reason = child.failure(
                "the job was checked", within_s=self.child_within_s, root=self.assets.folders.root
            )
        title = f"Validation failed for job config: {job.get('name', 'undefined')}"
        raise JobInvalid(title, [("assets", reason), *_asset_faults(job, names)])


def _asset_faults(job: Mapping[str, Any], names: AssetNames) -> list[tuple[str, str]]:
    return [
        (f"assets[{i}]", names.faults[identifier])
        for i, identifier in enumerate(asset_identifiers(job))
        if identifier in names.faults
    ]
