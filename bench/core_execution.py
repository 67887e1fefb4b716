"""What the controller core costs per slice, without sockets, threads or a store.

Everything that `ExecutionMachine.handle` does for a slice is measured: make, hand out, take the result,
record. The workers answer at once with all they were given, in messages of `--chunk` results, the master
acknowledges each batch at once, and the clock moves as if each slice took `--slice-us` on its worker.

    python bench/core_execution.py                 # 2 workers and 1,000 workers
    python bench/core_execution.py --analytics     # results that carry analytics
"""

import argparse
import gc
import json
import time
from collections import deque

from tsd.core.execution import events as ev
from tsd.core.execution.machine import ExecutionMachine
from tsd.core.execution.terms import Limits
from tsd.core.messages import (
    PROTOCOL,
    ControllerWelcome,
    RecordBatch,
    RecordsSaved,
    Results,
    Slices,
    StatusIs,
    StatusReport,
    Wanted,
    WorkerHello,
)

REQUEST = json.dumps({"offset": 123456, "length": 65536, "path": "/data/input/part-00042.ldjson"})


class Bench:
    """One controller core and what answers it."""

    def __init__(self, worker_count: int, args: argparse.Namespace) -> None:
        self.machine = ExecutionMachine(
            ex_id="ex", generation=1, address="tcp://h:1", wall_offset_s=1.7e9, limits=Limits()
        )
        self.worker_count = worker_count
        self.args = args
        self.analytics = b'{"time":[1,2,3],"size":[1,2,3],"memory":[1,2,3]}' if args.analytics else None
        self.spent_s = 0.0
        self.now = 0.0
        self.left = args.slices
        self.waiting: deque = deque()
        self.seqs: dict[str, int] = {}
        self.messages = self.results = self.rows = self.batches = self.calls = 0

    def feed(self, event) -> None:
        begin = time.perf_counter()
        effects = self.machine.handle(event, now=self.now)
        self.machine.wake_at()
        self.spent_s += time.perf_counter() - begin
        self.calls += 1
        for peer, message in effects.sends:
            self.answer(peer, message)
        for action in effects.actions:
            self.act(action)

    def answer(self, peer: str, message) -> None:
        if isinstance(message, Slices):
            self.waiting.append((peer, message))
            self.messages += 1
        elif isinstance(message, RecordBatch):
            self.rows += len(message.rows)
            self.batches += 1
            self.waiting.append(ev.FromMaster(RecordsSaved(seq=message.seq)))
        elif isinstance(message, StatusReport):
            self.waiting.append(ev.FromMaster(StatusIs(seq=message.seq, status="running")))

    def act(self, action) -> None:
        if isinstance(action, ev.MakeSlices):
            room = min(action.room, self.left)
            self.left -= room
            self.waiting.append(
                ev.SlicesMade([(0, REQUEST, None, None)] * room, self.left == 0, False, 10_000)
            )
        elif isinstance(action, ev.BuildSlicer):
            self.waiting.append(ev.SlicerInfo(True))
        elif isinstance(action, ev.StartSlicer):
            self.waiting.append(ev.SlicerReady(1))

    def begin(self) -> None:
        self.feed(ev.Tick())
        welcome = ControllerWelcome(
            lease_s=1e9,
            beat_interval_s=1.0,
            execution=json.dumps({"lifecycle": "once"}),
            resume=False,
            sources=("ex",),
            mode="",
            wanted=Wanted(revision=1, workers=self.worker_count),
        )
        self.feed(ev.FromMaster(welcome))
        for number in range(1, self.worker_count + 1):
            hello = WorkerHello(protocol=PROTOCOL, ex_id="ex", generation=1, number=number, pid=1, holds=[])
            self.feed(ev.FromWorker(f"ex/1/w{number}.1", hello))

    def run(self) -> None:
        while self.results < self.args.slices or self.waiting:
            if not self.waiting:
                self.now += 0.001
                self.feed(ev.Tick())
                continue
            event = self.waiting.popleft()
            if isinstance(event, tuple):
                self.work(*event)
            else:
                self.feed(event)

    def work(self, peer: str, slices: Slices) -> None:
        numbers = [item[0] for item in slices.items]
        chunk = self.args.chunk
        for part in (numbers[start : start + chunk] for start in range(0, len(numbers), chunk)):
            busy_us = int(len(part) * self.args.slice_us)
            self.now += busy_us / 1e6 / self.worker_count
            self.seqs[peer] = seq = self.seqs.get(peer, 0) + 1
            self.results += len(part)
            full = [(n, 2, 0, None, self.analytics) for n in part] if self.analytics else []
            done = [] if self.analytics else part
            self.feed(
                ev.FromWorker(peer, Results(seq=seq, done=done, full=full, returned=[], busy_us=busy_us))
            )
        wake = self.machine.wake_at()
        if wake is not None and self.now >= wake:
            self.feed(ev.Tick())


def measure(worker_count: int, args: argparse.Namespace) -> None:
    bench = Bench(worker_count, args)
    bench.begin()
    bench.spent_s = 0.0
    gc.collect()
    bench.run()
    assert bench.results == args.slices, bench.results
    print(
        f"{worker_count:5d} workers: {bench.spent_s / args.slices * 1e6:5.2f} us a slice in the core"
        f" ({args.slices / bench.messages:.0f} slices a message, {bench.rows / args.slices:.2f} rows a slice,"
        f" {bench.batches} batches, {bench.calls} calls)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=200_000)
    parser.add_argument("--slice-us", type=float, default=100.0)
    parser.add_argument("--chunk", type=int, default=32, help="results in one message")
    parser.add_argument("--analytics", action="store_true")
    args = parser.parse_args()
    for _ in range(3):
        for worker_count in (2, 1000):
            measure(worker_count, args)


if __name__ == "__main__":
    main()
