"""Memory and processor time of clusters that have little or nothing to do."""

import time

from bench.procs import Process, named, processes_of
from bench.up import Up, running_up, wait_status

IDLE_S = 10.0
WATCHED = 2
DAEMONS = r"^tsd: (master|node|fork server)"


def endless(workers: int) -> dict:
    return {
        "name": "bench footprint",
        "lifecycle": "persistent",
        "workers": workers,
        "operations": [{"_op": "data_generator", "size": 10}, {"_op": "delay", "ms": 5}, {"_op": "noop"}],
    }


def cores_used(processes: list[Process], seconds: float) -> float:
    """Processor time a second of all of them."""
    before, began = sum(one.cpu_s() for one in processes), time.perf_counter()
    time.sleep(seconds)
    return (sum(one.cpu_s() for one in processes) - before) / (time.perf_counter() - began)


def worker_mb(up: Up) -> list[float]:
    """Private memory of workers that have run slices."""
    job_id = up.client.post("/v1/jobs", endless(6))["job_id"]
    wait_status(up, job_id, "running")
    time.sleep(3)
    found = [one.memory_mb()["uss"] for one in named(processes_of(up.pid), "^tsd: worker")]
    up.client.post(f"/v1/jobs/{job_id}/_stop")
    if len(found) != 6:
        raise RuntimeError(f"{len(found)} workers run, not 6")
    return found


def paused_cores(up: Up) -> list[float]:
    """Processor time of the whole cluster while a job with 8 workers is paused."""
    job_id = up.client.post("/v1/jobs", endless(8))["job_id"]
    wait_status(up, job_id, "running")
    time.sleep(2)
    up.client.post(f"/v1/jobs/{job_id}/_pause")
    time.sleep(3)
    found = [cores_used(processes_of(up.pid), IDLE_S) for _ in range(WATCHED)]
    up.client.post(f"/v1/jobs/{job_id}/_stop")
    return found


def measure() -> dict[str, list[float]]:
    with running_up(10) as up:
        time.sleep(3)
        daemons = named(processes_of(up.pid), DAEMONS)
        idle_mb = sum(one.memory_mb()["pss"] for one in daemons)
        idle = [cores_used(processes_of(up.pid), IDLE_S) for _ in range(WATCHED)]
        return {
            "worker": worker_mb(up),
            "idle memory": [idle_mb],
            "idle cpu": idle,
            "paused cpu": paused_cores(up),
        }
