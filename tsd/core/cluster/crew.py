"""The workers of one execution and their slots on the nodes."""

from collections.abc import Iterable

import attrs

from tsd.core.cluster.membership import Members
from tsd.core.cluster.records import ClusterSettings
from tsd.core.cluster.seats import Seats
from tsd.core.messages import ProcessExit

MAX_EXITS_TOLD = 1000
"""More exits than this are not kept for a controller that does not acknowledge them; links tell it too."""


@attrs.define(kw_only=True)
class Crew:
    """The seats of one execution, and the ends of workers that its controller has to hear of.

    Attributes:
        is_displaced: The drain of a node has taken a worker away, and none was placed since.
        exits: Ended workers of this generation that the controller has not acknowledged.
    """

    settings: ClusterSettings
    members: Members
    ex_id: str
    seats: Seats = attrs.field(factory=Seats)
    exits: dict[str, ProcessExit] = attrs.field(factory=dict, init=False)
    is_displaced: bool = False

    def end(self, ended: ProcessExit, now: float, *, is_fault: bool) -> None:
        """A worker ended; it is replaced, with back-off only when it is to blame itself."""
        if len(self.exits) < MAX_EXITS_TOLD:
            self.exits[ended.proc_id] = ended
        seat = self.seats.of(ended.proc_id)
        if seat is None:
            return
        if is_fault:
            self.seats.end(seat, ended, young_s=self.settings.young_s, now=now)
        else:
            self.seats.vacate(seat)
        self.members.room_changed = True

    def give_up(self, proc_ids: Iterable[str], now: float) -> None:
        """The controller has given up these workers: they are killed and replaced."""
        for proc_id in proc_ids:
            seat = self.seats.of(proc_id)
            if seat is not None:
                self.seats.end(seat, None, young_s=self.settings.young_s, now=now)
                self.members.room_changed = True
            self.members.kill(self.ex_id, proc_id)

    def forget_exits(self, proc_ids: Iterable[str]) -> None:
        """The controller has acknowledged these."""
        for proc_id in proc_ids:
            self.exits.pop(proc_id, None)

    def step_aside(self, proc_id: str) -> None:
        """The node of this worker is drained: another takes its seat now, not only when it has ended."""
        seat = self.seats.of(proc_id)
        if seat is not None:
            self.seats.vacate(seat)
            self.is_displaced = True
            self.members.room_changed = True

    def leave_node(self, node_id: str) -> None:
        """What was placed on a node is not there any more: place it elsewhere."""
        for seat in self.seats.placed:
            if seat.node_id == node_id:
                self.seats.vacate(seat)

    def let_go_of(self, node_id: str) -> None:
        """Give up the slots that are held on a node; what runs there stays."""
        for seat in self.seats.held:
            if seat.node_id == node_id:
                self.members.let_go(node_id, self.ex_id, seat.number)
                self.seats.vacate(seat)

    def let_go_of_all(self) -> None:
        """Give up all slots that are held."""
        for node_id in {seat.node_id: None for seat in self.seats.held}:
            if node_id is not None:
                self.let_go_of(node_id)

    def shrink(self, count: int, now: float) -> None:
        """Drain the workers above `count`, highest numbers first."""
        for seat in self.seats.above(count):
            if seat.proc_id is not None:
                until = now + self.settings.shutdown_timeout_s
                self.members.end(self.ex_id, seat.proc_id, until=until)
            elif seat.node_id is not None:
                self.members.let_go(seat.node_id, self.ex_id, seat.number)
            self.seats.remove(seat)
        self.members.room_changed = True

    def disband(self) -> None:
        """The generation is over: forget all seats; the processes are ended by the caller."""
        self.let_go_of_all()
        self.seats.clear()
        self.exits.clear()
        self.members.room_changed = True

    def start_anew(self) -> None:
        """The seats of a new generation, whose process ids nobody used before."""
        self.disband()
        self.seats = Seats()
