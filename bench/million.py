"""A million slices: memory meanwhile, the rate afterwards, and the recovery of such an execution."""

import contextlib
import json
import random
import sqlite3
import sys
import time

from bench.procs import named, processes_of
from bench.slices import job, rate_of
from bench.up import Up, running_up

MILLION = 1_000_000
FIRST = 100_000
UNFINISHED = 1_000
PAIRS = 3
WATCHED = 3


def watch_memory(up: Up) -> tuple[dict[str, list[float]], str]:
    """Run a million slices; by how many percent memory grows after the first 100,000."""
    document = job(MILLION, 2, analytics=False)
    ex_id = up.client.post("/v1/jobs", document)["ex_id"]
    sizes: dict[str, list[float]] = {"master": [], "controller": []}
    while (execution := up.client.get(f"/v1/ex/{ex_id}"))["_status"] not in ("completed", "failed"):
        controllers = up.client.get("/v1/cluster/controllers")
        if controllers and controllers[0]["processed"] >= FIRST:
            running = processes_of(up.pid)
            for name, found in sizes.items():
                with contextlib.suppress(OSError, IndexError):
                    found.append(named(running, f"^tsd: {name}")[0].memory_mb()["uss"])
        time.sleep(0.1)
    if execution["_status"] != "completed":
        raise RuntimeError(execution["_failureReason"])
    growth = {f"{name} growth": [grown_percent(found)] for name, found in sizes.items()}
    print(f"# MB {json.dumps({k: [round(x) for x in v] for k, v in sizes.items()})}", file=sys.stderr)
    return growth, ex_id


def grown_percent(sizes: list[float]) -> float:
    """From the peak of the first third to that of the last; between them the heap comes and goes."""
    third = max(1, len(sizes) // 3)
    return (max(sizes[-third:]) / max(sizes[:third]) - 1) * 100


def make_unfinished(up: Up, ex_id: str) -> None:
    """Write into the store of a cluster that is down that some slices had only begun, and that it failed."""
    orders = random.Random(7).sample(range(1, MILLION + 1), UNFINISHED)
    with contextlib.closing(sqlite3.connect(up.store_path)) as store, store:
        (ex_no,) = store.execute("SELECT ex_no FROM executions WHERE ex_id = ?", (ex_id,)).fetchone()
        store.executemany(
            "UPDATE slices SET state = 1 WHERE ex_no = ? AND slicer_id = 0 AND slicer_order = ?",
            [(ex_no, order) for order in orders],
        )
        store.execute("UPDATE executions SET status = 'failed' WHERE ex_no = ?", (ex_no,))


def recovery_s(up: Up, ex_id: str) -> float:
    """From the request to recover to the end of the first slice that is run again."""
    began_ms = time.time() * 1000
    recovered = up.client.post(f"/v1/ex/{ex_id}/_recover")["ex_id"]
    up.wait(recovered)
    with contextlib.closing(sqlite3.connect(f"file:{up.store_path}?mode=ro", uri=True)) as store:
        first_ms, count = store.execute(
            "SELECT min(slices.updated), count(*) FROM slices JOIN executions USING (ex_no)"
            " WHERE ex_id = ? AND slices.updated >= ?",
            (ex_id, int(began_ms)),
        ).fetchone()
    if count != UNFINISHED:
        raise RuntimeError(f"{count} slices were run again, not {UNFINISHED}")
    return (first_ms - began_ms) / 1000


def add(found: dict[str, list[float]], more: dict[str, list[float]]) -> None:
    """Put what one more run has shown to the others."""
    for key, values in more.items():
        found.setdefault(key, []).extend(values)


def measure() -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with running_up(4) as spare:
        # A controller's heap comes and goes by some MB, and one run may begin low or end high.
        for _ in range(WATCHED - 1):
            add(found, watch_memory(spare)[0])
    with running_up(4) as full, running_up(4) as empty:
        grown, ex_id = watch_memory(full)
        add(found, grown)
        rate_of(empty, 20_000, 2, analytics=False)
        found["full store"] = []
        for _ in range(PAIRS):
            few = rate_of(empty, 40_000, 2, analytics=False)
            many = rate_of(full, 40_000, 2, analytics=False)
            found["full store"].append(many / few)
            print(f"# empty {few:,.0f}, full {many:,.0f}", file=sys.stderr, flush=True)
        with full.stopped():
            make_unfinished(full, ex_id)
        found["recovery"] = [recovery_s(full, ex_id)]
    return found
