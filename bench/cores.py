"""What the pure cores cost: a slice in that of the controller, a placement in that of the master."""

import argparse
import time

from bench.core_execution import Bench
from tests.support.cluster import Cluster

NODES, SLOTS, WORKERS = 200, 8, 1000
ROUNDS = 5


class Timed:
    """A machine, with a clock on what it does."""

    def __init__(self, machine) -> None:
        self._machine = machine
        self.spent_s = 0.0

    def handle(self, event, *, now):
        began = time.perf_counter()
        try:
            return self._machine.handle(event, now=now)
        finally:
            self.spent_s += time.perf_counter() - began

    def __getattr__(self, name: str):
        return getattr(self._machine, name)


def slice_us(workers: int) -> float:
    """Microseconds of a slice in the core of the controller."""
    args = argparse.Namespace(slices=100_000, slice_us=100.0, chunk=32, analytics=False)
    bench = Bench(workers, args)
    bench.begin()
    bench.spent_s = 0.0
    bench.run()
    return bench.spent_s / args.slices * 1e6


def placement_ms() -> float:
    """Milliseconds that the core of the master works until all workers of a new execution are placed."""
    cluster = Cluster(**{f"n{number}": SLOTS for number in range(NODES)})
    timed = cluster.master = Timed(cluster.master)
    cluster.run(1)
    timed.spent_s = 0.0
    # The calls that place: the new execution and the hello of its controller, with no beat between them.
    cluster.post("ex", WORKERS)
    cluster.settle()
    placed_ms = timed.spent_s * 1000
    cluster.run_until(lambda: len(cluster.workers("ex")) == WORKERS)
    return placed_ms


def measure() -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"core cost": [], "placement": []}
    for _ in range(ROUNDS):
        few = slice_us(10)
        found["core cost"].append(slice_us(1000) / few)
        found["placement"].append(placement_ms())
    return found
