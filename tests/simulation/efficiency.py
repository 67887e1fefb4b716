"""What a simulated cluster promises besides being right: nobody idles, nobody chatters, nothing is hoarded.

* **No worker idles while there is work for it.** A worker that is ready, reachable and holds nothing gets something
  within `IDLE_MAX_S`, as long as a slice waits that any worker may run, or another worker that can be reached holds
  one that it has not begun. So the last slices of a job are spread too. A beat is what it may take: a request
  to give slices back that got lost is made again after the next beat of the worker that was asked.
* **Messages are bounded by the work.** Handing out, taking back and telling results take at most
  `MESSAGES_A_SLICE` messages a slice, and `MESSAGES_A_BEAT` for each beat of a worker.
* **What a controller remembers is bounded by what is in flight.** Every queue and table has at most an entry
  for each unfinished slice, and rows that are not durable yet; nothing is left when nothing is in flight.
"""

from collections import Counter
from typing import TYPE_CHECKING

from tests.simulation.actors import Controller, Worker
from tests.simulation.store import BrokenPromise
from tsd.core.execution.ledger import PENDING
from tsd.core.execution.workers import PAST_KEPT
from tsd.core.messages import GiveBack, Message, Results, ResultsSeen, Slices

if TYPE_CHECKING:
    from tests.simulation.world import World

LOOK_S = 0.1
"""Of virtual time between two looks."""
IDLE_MAX_S = 2.0
"""A beat of 1 s, and the ways there and back over a slow link."""
MESSAGES_A_SLICE = 5
MESSAGES_A_BEAT = 4
ENDED_IN_QUEUE_MAX = 512
"""Entries of slices that ended while they waited; they leave when they come to the head."""
WORK = (Slices, GiveBack, Results, ResultsSeen)


class Efficiency:
    """Looks at a world from outside; it changes nothing in it."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.messages: Counter[str] = Counter()
        self.beats: Counter[str] = Counter()
        # By worker and how many slices it had begun: one that ran something between two looks did not idle.
        self._idle_since: dict[tuple[str, int], float] = {}

    def note(self, ex_id: str, message: Message) -> None:
        """A message between a controller and a worker."""
        if isinstance(message, WORK):
            self.messages[ex_id] += 1

    def watch(self, until: float) -> None:
        """Let time pass, and look."""
        world = self.world
        while world.clock.now < until:
            world.run_until(min(until, world.clock.now + LOOK_S))
            self.look()

    def look(self) -> None:
        """Check every controller that is there."""
        idle: set[tuple[str, int]] = set()
        for process in list(self.world.processes.values()):
            if isinstance(process, Controller) and process.is_alive and process.frozen_since is None:
                self._check_memory(process)
                idle |= self._idle_without_reason(process)
        now = self.world.clock.now
        self._idle_since = {key: self._idle_since.get(key, now) for key in sorted(idle)}
        for (name, _), since in self._idle_since.items():
            if now - since > IDLE_MAX_S:
                raise BrokenPromise(f"{name} has nothing to do since {since:.2f}, and there is work for it")

    def _workers(self, controller: Controller) -> list[Worker]:
        return [
            process
            for process in self.world.processes.values()
            if isinstance(process, Worker)
            and process.spec.ex_id == controller.spec.ex_id
            and process.spec.generation == controller.spec.generation
        ]

    def _idle_without_reason(self, controller: Controller) -> set[tuple[str, int]]:
        machine = controller.machine
        workers = self._workers(controller)
        self.beats[controller.spec.ex_id] += len(workers)
        if not machine._may_hand_out(controller.now):
            return set()
        members = machine._table.members
        takers = [
            worker
            for worker in workers
            if self._is_reachable(controller, worker)
            and worker.is_idle
            and (member := members.get(worker.name)) is not None
            and not (member.is_leaving or member.reserved or member.blocked or member.down_since)
        ]
        if not takers:
            return set()
        waits = any(entry.state == PENDING for entry in machine._dispatcher._queue)
        holds = any(
            worker.not_begun and worker not in takers and self._is_reachable(controller, worker)
            for worker in workers
        )
        return {(worker.name, worker.begun) for worker in takers} if waits or holds else set()

    def _is_reachable(self, controller: Controller, worker: Worker) -> bool:
        return (
            worker.is_alive
            and worker.frozen_since is None
            and not self.world.network.is_cut(controller.host, worker.host)
        )

    def _check_memory(self, controller: Controller) -> None:
        machine = controller.machine
        ledger, dispatcher, recorder = machine._ledger, machine._dispatcher, machine._recorder
        unfinished = len(ledger.unfinished)
        in_flight = unfinished + recorder.buffered()
        sizes = {
            "lanes": (sum(map(len, recorder.lanes.values())), in_flight),
            "changed": (len(recorder.changed), in_flight),
            "alone": (len(dispatcher._alone), unfinished + ENDED_IN_QUEUE_MAX),
            "queue": (len(dispatcher._queue), unfinished + ENDED_IN_QUEUE_MAX),
            "deaths": (len(ledger.deaths), unfinished),
            "rerun": (len(ledger.rerun), unfinished),
            "waiting": (ledger.waiting, unfinished),
            "kept": (ledger.kept, unfinished),
            "past workers": (len(machine._table.ended), 64 * PAST_KEPT),
        }
        for what, (size, most) in sizes.items():
            if not 0 <= size <= most:
                raise BrokenPromise(f"{controller.name} has {size} in {what}, at most {most} is in flight")
        waiting = sum(entry.state == PENDING for entry in ledger.unfinished.values())
        if ledger.waiting != waiting:
            raise BrokenPromise(f"{controller.name} counts {ledger.waiting} that wait, there are {waiting}")

    def check_messages(self) -> None:
        """At the end: so many messages the work was worth."""
        for ex_id, plan in self.world.plans.items():
            ran = sum(count for (lineage, _), count in self.world.runs.items() if lineage == plan.lineage)
            beats = self.beats[ex_id] * LOOK_S
            most = MESSAGES_A_SLICE * ran + MESSAGES_A_BEAT * beats + 20
            if self.messages[ex_id] > most:
                raise BrokenPromise(
                    f"{ex_id}: {self.messages[ex_id]} messages for {ran} slices in {beats:.0f} beats of workers"
                )
