"""How long a job takes to start on a warm node, beside a fresh Python that imports what a worker needs.

Each turn posts a job of one slice and watches the store for its first completed slice and for the status
`completed`, then starts a Python that imports trio, zmq and the worker's module and ends.

    python -m bench.start --turns 20
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from datetime import datetime

from bench.up import Up, machine, running_up

IMPORTS = "import trio, zmq, tsd.worker.process"
JOB = {
    "name": "bench start",
    "lifecycle": "once",
    "workers": 1,
    "operations": [{"_op": "data_generator", "size": 1}, {"_op": "noop"}],
}


def measure_job(up: Up) -> dict:
    """Milliseconds from before the POST to its answer, the end of the first slice, and `completed`."""
    began_ms = time.time() * 1000
    ex_id = up.client.post("/v1/jobs", JOB)["ex_id"]
    answered_ms = time.time() * 1000
    while (execution := up.client.get(f"/v1/ex/{ex_id}"))["_status"] != "completed":
        if execution["_status"] in {"failed", "terminated"}:
            raise RuntimeError(execution["_failureReason"])
        time.sleep(0.02)
    count, first_ms = up.slices(ex_id)
    if count != 1:
        raise RuntimeError(f"{count} slices are stored as completed")
    return {
        "answer": answered_ms - began_ms,
        "first slice": first_ms - began_ms,
        "completed": datetime.fromisoformat(execution["_updated"]).timestamp() * 1000 - began_ms,
    }


def measure_python() -> float:
    """Milliseconds that a fresh Python takes to import what a worker imports, and to end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, timeout=60)
    return (time.perf_counter() - began) * 1000


def run(turns: int) -> dict:
    found: dict[str, list[float]] = {"answer": [], "first slice": [], "completed": [], "fresh Python": []}
    before = machine()
    with running_up(4) as up:
        measure_job(up)  # not counted: the first job of a cluster
        for _ in range(turns):
            for key, value in measure_job(up).items():
                found[key].append(value)
            found["fresh Python"].append(measure_python())
    return {
        "bench": "start",
        "machine": before,
        "load_after": machine()["load"],
        "turns": turns,
        "summary": {
            key: {
                "median": round(statistics.median(values)),
                "least": round(min(values)),
                "greatest": round(max(values)),
            }
            for key, values in found.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=10)
    found = run(parser.parse_args().turns)
    print(f"{'milliseconds':<18}{'median':>10}{'least':>10}{'greatest':>10}")
    for key, row in found["summary"].items():
        print(f"{key:<18}{row['median']:>10,}{row['least']:>10,}{row['greatest']:>10,}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
