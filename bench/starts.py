"""How long things take to start and to stop, beside a fresh Python that imports what a worker needs."""

import subprocess
import time

from bench.start import measure_job, measure_python
from bench.up import Up, running_up, wait_status

TURNS = 9
ENDLESS = {
    "name": "bench stop",
    "lifecycle": "persistent",
    "workers": 2,
    "operations": [{"_op": "data_generator", "size": 1}, {"_op": "delay", "ms": 1}, {"_op": "noop"}],
}


def measure_stop(up: Up) -> float:
    """Milliseconds from `_stop` to the answer, which comes when it is `stopped`."""
    job_id = up.client.post("/v1/jobs", ENDLESS)["job_id"]
    wait_status(up, job_id, "running")
    time.sleep(0.5)
    began = time.perf_counter()
    status = up.client.post(f"/v1/jobs/{job_id}/_stop")["status"]
    took_ms = (time.perf_counter() - began) * 1000
    if status != "stopped":
        raise RuntimeError(f"it is {status}")
    return took_ms


def measure() -> dict[str, list[float]]:
    found: dict[str, list[float]] = {key: [] for key in ("first slice", "completed", "stopped", "ready")}
    with running_up(4) as up:
        measure_job(up)  # not counted: the first job of a cluster
        for _ in range(TURNS):
            fresh = measure_python()
            job = measure_job(up)
            found["first slice"].append(job["first slice"] / fresh)
            found["completed"].append(job["completed"] / fresh)
            found["stopped"].append(measure_stop(up) / fresh)
    for _ in range(5):
        fresh = measure_python()
        began = time.perf_counter()
        with running_up(2, needs_node=False):
            found["ready"].append((time.perf_counter() - began) * 1000 / fresh)
    return found


if __name__ == "__main__":
    subprocess.run(["python", "-m", "bench", "--only", "starts"], check=True)
