"""What the controller core costs per slice, without sockets, threads or a store.

Everything that `ExecutionMachine.handle` does for a slice is measured: make, hand out, take the result, record.
The workers answer at once with all they were given, the master acknowledges each batch at once, and the clock
moves as if each slice took `--slice-us` on its worker.

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


def measure(
    worker_count: int, slice_count: int, slice_us: float, chunk: int, analytics: bytes | None
) -> None:
    machine = ExecutionMachine(
        ex_id="ex", generation=1, address="tcp://h:1", wall_offset_s=1.7e9, limits=Limits()
    )
    spent = 0.0
    now = 0.0
    events: deque = deque()
    left = slice_count
    seqs: dict[str, int] = {}
    messages = results = rows = batches = calls = 0

    def feed(event) -> None:
        nonlocal spent, left, messages, rows, batches, calls
        begin = time.perf_counter()
        effects = machine.handle(event, now=now)
        machine.wake_at()
        spent += time.perf_counter() - begin
        calls += 1
        for peer, message in effects.sends:
            if type(message) is Slices:
                events.append((peer, message))
                messages += 1
            elif type(message) is RecordBatch:
                rows += len(message.rows)
                batches += 1
                events.append(ev.FromMaster(RecordsSaved(seq=message.seq)))
            elif type(message) is StatusReport:
                events.append(ev.FromMaster(StatusIs(seq=message.seq, status="running")))
        for action in effects.actions:
            if type(action) is ev.MakeSlices:
                room = min(action.room, left)
                left -= room
                items = [(0, REQUEST, None, None)] * room
                events.append(ev.SlicesMade(items, left == 0, False, 10_000))
            elif type(action) is ev.BuildSlicer:
                events.append(ev.SlicerInfo(True))
            elif type(action) is ev.StartSlicer:
                events.append(ev.SlicerReady(1))

    feed(ev.Tick())
    welcome = ControllerWelcome(
        lease_s=1e9,
        beat_interval_s=1.0,
        execution=json.dumps({"lifecycle": "once"}),
        resume=False,
        sources=("ex",),
        mode="",
        wanted=Wanted(revision=1, workers=worker_count),
    )
    feed(ev.FromMaster(welcome))
    for number in range(worker_count):
        hello = WorkerHello(protocol=1, ex_id="ex", generation=1, number=number, pid=1, holds=[])
        feed(ev.FromWorker(f"w{number}", hello))
    spent = 0.0
    gc.collect()
    began = time.perf_counter()
    while results < slice_count or events:
        if not events:
            now += 0.001
            feed(ev.Tick())
            continue
        event = events.popleft()
        if type(event) is not tuple:
            feed(event)
            continue
        peer, slices = event
        numbers = [item[0] for item in slices.items]
        for start in range(0, len(numbers), chunk):
            part = numbers[start : start + chunk]
            now += len(part) * slice_us / 1e6 / worker_count
            seqs[peer] = seq = seqs.get(peer, 0) + 1
            results += len(part)
            feed(
                ev.FromWorker(
                    peer,
                    Results(
                        seq=seq,
                        done=[] if analytics else part,
                        full=[(n, 2, 0, None, analytics) for n in part] if analytics else [],
                        returned=[],
                        busy_us=int(len(part) * slice_us),
                    ),
                )
            )
        wake = machine.wake_at()
        if wake is not None and now >= wake:
            feed(ev.Tick())
    elapsed = time.perf_counter() - began
    assert results == slice_count, (results, slice_count)
    print(
        f"{worker_count:5d} workers, {slice_count} slices: {spent / slice_count * 1e6:5.2f} us/slice in the core"
        f" ({slice_count / messages:.0f} slices a message, {rows / slice_count:.2f} rows a slice,"
        f" {batches} batches, {calls} calls, {elapsed:.2f} s in all)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=200_000)
    parser.add_argument("--slice-us", type=float, default=100.0)
    parser.add_argument("--chunk", type=int, default=32, help="results in one message")
    parser.add_argument("--analytics", action="store_true")
    args = parser.parse_args()
    analytics = b'{"time":[1,2,3],"size":[1,2,3],"memory":[1,2,3]}' if args.analytics else None
    for _ in range(3):
        for worker_count in (2, 1000):
            measure(worker_count, args.slices, args.slice_us, args.chunk, analytics)


if __name__ == "__main__":
    main()
