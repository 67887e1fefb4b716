"""Telling operators in the log what waits for slots that the cluster does not have.

What waits for others to end is no news. Told once, and again only after it was over: that nothing at all can
be placed while jobs wait, and that a job asks for more workers than there will ever be room for.
"""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import structlog
import trio

from tsd.core.cluster.machine import ClusterMachine
from tsd.core.cluster.views import SLOTS_LEAST, Capacity, WaitingView
from tsd.master.readiness import room_of
from tsd.operations.job_warnings import THE_JOB, WarningKind, warning

LOOK_EVERY_S = 2.0
PATIENCE_S = 3.0
"""A node that starts together with the master needs a moment."""
LOOKED_AT = 1000
"""So many executions that wait are looked at, the oldest."""

log = structlog.get_logger()


@attrs.define(eq=False, kw_only=True)
class RoomWatch:
    """Looks at what waits, from time to time.

    Attributes:
        machine: Knows what waits, and what room there is.
        now: Seconds on a clock that only goes forward.
    """

    machine: ClusterMachine
    now: Callable[[], float]
    _stuck_since: float | None = None
    _is_told: bool = False
    _short: set[str] = attrs.field(factory=set)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            self.look()
            await trio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Look once."""
        waiting = self.machine.waiting(LOOKED_AT)
        self._tell_stuck(waiting)
        self._tell_short(waiting)

    def _tell_stuck(self, waiting: list[WaitingView]) -> None:
        room = room_of(self.machine.capacity())
        if not waiting or room["ok"]:
            if self._is_told:
                log.info("cluster.has_room", nodes=room["nodes"], slots=room["slots"])
            self._stuck_since, self._is_told = None, False
            return
        if self._stuck_since is None:
            self._stuck_since = self.now()
        if not self._is_told and self.now() - self._stuck_since >= PATIENCE_S:
            self._is_told = True
            log.warning("cluster.no_room", reason=room["reason"], executions=len(waiting))

    def _tell_short(self, waiting: list[WaitingView]) -> None:
        slots = self.machine.capacity().slots
        short = {each.ex_id: each for each in waiting if slots >= SLOTS_LEAST and each.workers + 1 > slots}
        for ex_id in short.keys() - self._short:
            each = short[ex_id]
            log.warning(
                "execution.short_of_slots",
                ex_id=ex_id,
                job_id=each.job_id,
                workers=each.workers,
                slots=slots,
            )
        self._short = set(short)


def capacity_warning(capacity: Capacity, job: Mapping[str, Any]) -> dict[str, Any] | None:
    """What to say to whoever starts a job that asks for more than the connected nodes have; else None.

    Without any node nothing is said: what a cluster that is being started will have is not known yet.

    Args:
        capacity: What there is.
        job: A checked job.
    """
    slots, wanted = capacity.slots, int(job["workers"])
    if not capacity.nodes_connected or wanted + 1 <= slots:
        return None
    if slots < SLOTS_LEAST:
        description = (
            f"workers: the job needs at least 2 slots, one for its controller and one for a worker, and the"
            f" cluster has {slots}: it waits until there are more"
        )
    else:
        description = (
            f"workers: the job asks for {wanted} workers, and the cluster has {slots} slots, one of them for"
            f" the controller: at most {slots - 1} workers run, the others wait for slots"
        )
    return warning(WarningKind.CAPACITY, THE_JOB, field="workers", description=description, path="workers")


def with_waiting_reason(execution: dict[str, Any], machine: ClusterMachine) -> dict[str, Any]:
    """The document, with why something of the execution does not run yet when that is so."""
    reason = machine.waiting_reason(str(execution["ex_id"]))
    return execution | {"_waiting_reason": reason} if reason else execution
