"""Checking jobs beside the loop: operations are user code, and importing them takes time."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import attrs
import trio

from tsd.operations.job import ValidatedJob, validate_job
from tsd.operations.registry import Registry

CHECKS_AT_ONCE = 2
"""More would only wait for the interpreter."""


@attrs.frozen(eq=False, kw_only=True)
class JobChecker:
    """Checks jobs in worker threads.

    Attributes:
        registry: Where operations are found.
        connections: Names of the configured connections, of any type.
        cpu_count: For the default number of workers.
    """

    registry: Registry
    connections: frozenset[str]
    cpu_count: int
    _limiter: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(CHECKS_AT_ONCE), init=False
    )

    async def check(self, job: Mapping[str, Any]) -> ValidatedJob:
        """The job with all defaults.

        Raises:
            JobInvalid: With every fault and its path.
        """
        check = partial(
            validate_job,
            job,
            registry=self.registry,
            connectors=self.connections,
            cpu_count=self.cpu_count,
        )
        return await trio.to_thread.run_sync(check, limiter=self._limiter)
