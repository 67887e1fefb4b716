"""Slices a second: beside the bare loop, with work in them, and with many workers."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from bench.slices import job, rate_of
from bench.up import Up, running_up

LIMIT = Path(__file__).parent / "limit.py"
PAIRS = 5
SLICES = 40_000
MANY = 64
WORK_MS, WORK_SLICES = 10, 600


def limit() -> float:
    """Slices a second of the bare loop."""
    command = [sys.executable, str(LIMIT), "--workers", "2", "--credits", "64", "--slices", str(SLICES)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return json.loads(done.stdout)["slices_per_second"]


def share_of_ideal(up: Up) -> float:
    """How much of two workers' time is work, while each slice takes `WORK_MS`."""
    document = job(WORK_SLICES, 2, analytics=False)
    document["operations"].insert(1, {"_op": "delay", "ms": WORK_MS})
    execution = up.run(document)
    first_ms, last_ms = up.ended_between(execution["ex_id"])
    # Two slices end at the first moment, so what lies between is the time of the others.
    ideal_ms = (WORK_SLICES - 2) / 2 * WORK_MS
    return ideal_ms / (last_ms - first_ms)


def steady_rate(up: Up, workers: int) -> float:
    """Slices a second in the second half of a job, when all workers are there."""
    execution = up.run(job(10 * SLICES, workers, analytics=False))
    half_ms, end_ms = up.second_half(execution["ex_id"])
    return 5 * SLICES / (end_ms - half_ms) * 1000


def measure() -> dict[str, list[float]]:
    found: dict[str, list[float]] = {key: [] for key in ("plain", "analytics", "work", "64 workers")}
    with running_up(MANY + 2) as up:
        up.run(job(2000, 2, analytics=True))  # not counted: the first run of a cluster
        for number in range(PAIRS):
            bare = limit()
            plain = rate_of(up, SLICES, 2, analytics=False)
            found["plain"].append(plain / bare)
            found["analytics"].append(rate_of(up, SLICES, 2, analytics=True) / bare)
            if number < 3:
                found["work"].append(share_of_ideal(up))
            print(f"# bare loop {bare:,.0f}, plain {plain:,.0f}", file=sys.stderr, flush=True)
        for _ in range(3):
            two, many = steady_rate(up, 2), steady_rate(up, MANY)
            found["64 workers"].append(many / two)
            print(f"# 2 workers {two:,.0f}, {MANY} workers {many:,.0f}", file=sys.stderr, flush=True)
    print(f"# medians {[round(statistics.median(v), 3) for v in found.values()]}", file=sys.stderr)
    return found
