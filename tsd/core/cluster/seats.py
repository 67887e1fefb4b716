"""The workers of one execution: which numbers are filled, and when an empty one is filled again."""

import attrs

from tsd.core.messages import ProcessExit

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 30.0
MAX_DELAY_AFTER_WORK_S = 1.0
"""A worker that died while it ran a slice did start well; the slice's own retries bound the deaths."""


@attrs.define(kw_only=True)
class Seat:
    """Worker `number` of an execution.

    Attributes:
        node_id: The node on which it runs or on which a slot is held for it; None while it waits.
        proc_id: Its process; None while the controller is not ready for it.
        not_before: It is not placed before this.
        young_deaths: How often in a row it died soon after its start.
    """

    number: int
    node_id: str | None = None
    proc_id: str | None = None
    started_at: float = 0.0
    not_before: float = 0.0
    young_deaths: int = 0


@attrs.define(kw_only=True)
class Seats:
    """The seats of one generation of an execution, numbered from 1.

    Attributes:
        first_start: Where each seat's count of its processes begins. A restarted master begins far above
            what one before it can have used for the same generation.
    """

    first_start: int = 1
    _starts: dict[int, int] = attrs.field(factory=dict, init=False)
    _seats: dict[int, Seat] = attrs.field(factory=dict, init=False)
    _by_process: dict[str, Seat] = attrs.field(factory=dict, init=False)

    @property
    def placed(self) -> list[Seat]:
        """Seats that have a node."""
        return [seat for seat in self._seats.values() if seat.node_id is not None]

    @property
    def held(self) -> list[Seat]:
        """Seats that have a node and no process yet."""
        return [seat for seat in self.placed if seat.proc_id is None]

    @property
    def running(self) -> list[Seat]:
        """Seats that have a process, which may still be starting."""
        return list(self._by_process.values())

    def of(self, proc_id: str) -> Seat | None:
        """The seat whose process this is now."""
        return self._by_process.get(proc_id)

    def missing(self, wanted: int, now: float) -> int:
        """How many of the seats up to `wanted` could be placed now."""
        waiting = [
            seat
            for seat in self._seats.values()
            if seat.number <= wanted and (seat.node_id is not None or seat.not_before > now)
        ]
        return max(0, wanted - len(waiting))

    def hold(self, node_id: str, wanted: int, now: float) -> Seat:
        """Give the lowest empty seat a place on a node; `missing` must not be 0."""
        number = 1
        while (seat := self._seats.get(number)) and (seat.node_id is not None or seat.not_before > now):
            number += 1
        assert number <= wanted
        seat = self._seats.setdefault(number, Seat(number=number))
        seat.node_id = node_id
        return seat

    def next_start(self, number: int) -> int:
        """A start of worker `number` that was not used before."""
        self._starts[number] = self._starts.get(number, self.first_start - 1) + 1
        return self._starts[number]

    def fill(self, seat: Seat, proc_id: str, now: float) -> None:
        """The process of a held seat is started."""
        seat.proc_id = proc_id
        seat.started_at = now
        self._by_process[proc_id] = seat

    def adopt(self, number: int, node_id: str, proc_id: str, now: float) -> bool:
        """Take a process that runs already, if its seat is empty."""
        seat = self._seats.setdefault(number, Seat(number=number))
        if seat.node_id is not None:
            return False
        seat.node_id = node_id
        self.fill(seat, proc_id, now)
        return True

    def vacate(self, seat: Seat) -> None:
        """The seat is empty; it can be placed at once."""
        if seat.proc_id is not None:
            del self._by_process[seat.proc_id]
        seat.node_id = seat.proc_id = None

    def end(self, seat: Seat, exit_: ProcessExit | None, *, young_s: float, now: float) -> None:
        """The process of the seat ended by itself: it is placed again, ever later if it dies young.

        The first replacement is immediate; `exit_` None stands for a process that was given up, which had
        started well too.
        """
        is_young = now - seat.started_at < young_s
        self.vacate(seat)
        if not is_young:
            seat.young_deaths = 0
            return
        if seat.young_deaths:
            has_worked = exit_ is None or exit_.running is not None or exit_.behind is not None
            limit = MAX_DELAY_AFTER_WORK_S if has_worked else MAX_DELAY_S
            seat.not_before = now + min(limit, FIRST_DELAY_S * 2.0 ** min(seat.young_deaths - 1, 20))
        seat.young_deaths += 1

    def above(self, wanted: int) -> list[Seat]:
        """Seats that are too many, highest first."""
        return [self._seats[number] for number in sorted(self._seats, reverse=True) if number > wanted]

    def remove(self, seat: Seat) -> None:
        """Take a seat away."""
        self.vacate(seat)
        del self._seats[seat.number]

    def clear(self) -> None:
        """Take all seats away: the generation is over."""
        self._seats.clear()
        self._by_process.clear()

    def next_ready_at(self, now: float) -> float | None:
        """When the next seat's back-off ends."""
        waits = [
            seat.not_before for seat in self._seats.values() if seat.node_id is None and seat.not_before > now
        ]
        return min(waits, default=None)
