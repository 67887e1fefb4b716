"""Who runs where: a pure function of the free slots and of what is missing.

Everybody who fits starts, first come first served; one that does not fit holds nobody back. What room is
left goes to the executions that want more workers, oldest first; but while somebody waits to start, the few
slots for that are kept. Slots come free one by one, so an execution that always wants more would take each.
"""

import heapq
from collections.abc import Iterable, Sequence

import attrs


@attrs.frozen(kw_only=True)
class Room:
    """A node that can be placed on, with its free slots (0 or more)."""

    node_id: str
    free: int
    has_controller: bool = False


@attrs.frozen(kw_only=True)
class Ask:
    """What an execution is missing.

    Attributes:
        controller: It has no controller.
        needs: Slots that must be free before its controller is placed.
        workers: Workers that are missing.
        has_workers: It has at least one.
        avoid: Nodes on which its controller is placed only if there is no other.
    """

    ex_id: str
    controller: bool
    workers: int
    needs: int = 2
    has_workers: bool = False
    avoid: frozenset[str] = frozenset()


@attrs.define(kw_only=True)
class Grant:
    """Where an execution gets its controller (None: not now or not needed) and workers."""

    ex_id: str
    controller: str | None = None
    workers: list[str] = attrs.field(factory=list)


class _Floor:
    """The free slots while they are given away, the emptiest node first."""

    def __init__(self, rooms: Iterable[Room]) -> None:
        self._rooms = {room.node_id: room for room in rooms if room.free > 0}
        self._free = {room.node_id: room.free for room in self._rooms.values()}
        self._heap = [(-free, node_id) for node_id, free in self._free.items()]
        heapq.heapify(self._heap)
        self.total = sum(self._free.values())
        self._controllers = {room.node_id for room in self._rooms.values() if room.has_controller}

    def take_for_worker(self) -> str:
        """A slot of the node with most free slots; there must be one."""
        while True:
            free, node_id = self._heap[0]
            if self._free[node_id] == -free and free < 0:
                break
            heapq.heappop(self._heap)
        self._take(node_id)
        return node_id

    def take_for_controller(self, avoid: frozenset[str]) -> str:
        """A slot of the emptiest node without a controller, or of the emptiest; there must be one."""
        node_id = min(
            (node_id for node_id, free in self._free.items() if free > 0),
            key=lambda each: (each in avoid, each in self._controllers, -self._free[each], each),
        )
        self._controllers.add(node_id)
        self._take(node_id)
        return node_id

    def _take(self, node_id: str) -> None:
        self._free[node_id] -= 1
        self.total -= 1
        heapq.heappush(self._heap, (-self._free[node_id], node_id))


def place(rooms: Iterable[Room], asks: Sequence[Ask]) -> list[Grant]:
    """Give free slots to the executions that miss something.

    1. Executions that have a controller and no worker get one worker.
    2. Executions without a controller get it and one worker, if `needs` slots are free: on the node with
       most free slots that has no controller, or else on the one with most free slots.
    3. All others get workers as long as there are slots, dealt one by one to the emptiest node. If somebody
       still waits for a controller, as many slots are left over as the most modest of them needs.

    Args:
        rooms: The nodes that can be placed on.
        asks: What is missing, in the order in which the executions came.

    Returns:
        What was given, in the order of `asks`; who gets nothing is not in it.
    """
    floor = _Floor(rooms)
    grants = {ask.ex_id: Grant(ex_id=ask.ex_id) for ask in asks}
    for ask in asks:
        if not ask.controller and not ask.has_workers and ask.workers and floor.total:
            grants[ask.ex_id].workers.append(floor.take_for_worker())
    for ask in asks:
        if ask.controller and floor.total >= max(1, ask.needs):
            grants[ask.ex_id].controller = floor.take_for_controller(ask.avoid)
            if ask.workers and floor.total:
                grants[ask.ex_id].workers.append(floor.take_for_worker())
    kept = min(
        (ask.needs for ask in asks if ask.controller and grants[ask.ex_id].controller is None), default=0
    )
    for ask in asks:
        grant = grants[ask.ex_id]
        if ask.controller and grant.controller is None:
            continue
        missing = max(0, min(ask.workers - len(grant.workers), floor.total - kept))
        grant.workers.extend(floor.take_for_worker() for _ in range(missing))
    return [grant for grant in grants.values() if grant.controller or grant.workers]
