"""How long the API takes to answer, idle and while slices fly, beside a bare route on the same software.

The cluster is `tsd up`. One client with one open connection to each server asks in turn for

* `state`: GET /v1/cluster/state, which the master has in memory;
* `ex`: GET /v1/jobs/<id>/ex, which it reads from the store; clients that wait for a job ask it all the time;
* `bare`: a route of Quart-Trio on Hypercorn that returns a constant, in a process of its own.

First nothing else runs; then jobs of many small slices run with two workers at full speed, and only what was
asked while slices ended counts. The three stand side by side in every turn, so whatever the machine does hits
all alike.

    python -m bench.api --jobs 5
"""

import argparse
import http.client
import json
import statistics
import sys
import time
from urllib.parse import urlsplit

from bench.bare import running_bare
from bench.slices import job
from bench.up import TERMINAL, Up, machine, running_up

ROUTES = ("state", "ex", "bare")
START_WITHIN_S = 30
Samples = dict[str, list[float]]


# --- the client -------------------------------------------------------------------------------------


class Client:
    """One open connection to each server."""

    def __init__(self, url: str, bare_url: str) -> None:
        self._api = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self._bare = http.client.HTTPConnection(urlsplit(bare_url).netloc, timeout=60)

    def ask(self, route: str, job_id: str) -> tuple[float, dict]:
        """Milliseconds until the whole answer is there, and the answer."""
        connection = self._bare if route == "bare" else self._api
        path = {"state": "/v1/cluster/state", "ex": f"/v1/jobs/{job_id}/ex", "bare": "/"}[route]
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        took_ms = (time.perf_counter() - began) * 1000
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body.decode()}")
        return took_ms, json.loads(body)

    def turn(self, job_id: str) -> tuple[dict[str, float], dict]:
        """Each route once; what each took, and the execution of the job."""
        took, execution = {}, {}
        for route in ROUTES:
            took[route], body = self.ask(route, job_id)
            execution = body if route == "ex" else execution
        return took, execution


def measure_idle(client: Client, job_id: str, turns: int) -> Samples:
    found: Samples = {route: [] for route in ROUTES}
    for _ in range(turns):
        for route, took_ms in client.turn(job_id)[0].items():
            found[route].append(took_ms)
    return found


def measure_loaded(up: Up, client: Client, args: argparse.Namespace) -> tuple[Samples, float]:
    """Ask while one job runs; also how many slices a second it did meanwhile."""
    found: Samples = {route: [] for route in ROUTES}
    posted = up.client.post("/v1/jobs", job(args.slices, args.workers, analytics=True))
    _wait_for_slices(up, posted["ex_id"])
    began = time.monotonic()
    while True:
        took, execution = client.turn(posted["job_id"])
        if execution["_status"] in TERMINAL:
            break
        for route, took_ms in took.items():
            found[route].append(took_ms)
    rate = args.slices / (time.monotonic() - began)
    if execution["_status"] != "completed" or up.slices(posted["ex_id"])[0] != args.slices:
        raise RuntimeError(f"{execution['_status']}: {execution.get('_failureReason')}")
    return found, rate


def _wait_for_slices(up: Up, ex_id: str) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while not up.slices(ex_id)[0]:
        if time.monotonic() > deadline:
            raise RuntimeError("no slice ended")
        time.sleep(0.005)


# --- figures ----------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> dict:
    before = machine()
    loaded: Samples = {route: [] for route in ROUTES}
    rates = []
    with running_bare() as bare_url, running_up(args.workers + 2) as up:
        first = up.run(job(2000, args.workers, analytics=True))  # not counted: the first run of a cluster
        client = Client(up.client.url, bare_url)
        measure_idle(client, first["job_id"], 50)
        idle = measure_idle(client, first["job_id"], args.turns)
        for number in range(args.jobs):
            found, rate = measure_loaded(up, client, args)
            rates.append(rate)
            for route in ROUTES:
                loaded[route] += found[route]
            print(f"# {number + 1} {rate:,.0f} slices a second, {len(found['ex'])} turns", file=sys.stderr)
    return {
        "bench": "api",
        "machine": before,
        "load_after": machine()["load"],
        "slices": args.slices,
        "workers": args.workers,
        "slices_per_second": round(statistics.median(rates)),
        "turns": {"idle": len(idle["ex"]), "loaded": len(loaded["ex"])},
        "summary": {"idle": summary(idle), "loaded": summary(loaded)},
    }


def summary(found: Samples) -> dict:
    """p50, p99 and the longest of each route in milliseconds, and how often as long as the bare one."""
    rows = {}
    for route, took in found.items():
        cuts = statistics.quantiles(took, n=100)
        rows[route] = {"p50": cuts[49], "p99": cuts[98], "longest": max(took)}
    return {
        route: {
            **{key: round(value, 2) for key, value in row.items()},
            **{f"{key}_of_bare": round(row[key] / rows["bare"][key], 1) for key in ("p50", "p99")},
        }
        for route, row in rows.items()
    }


def show(found: dict) -> None:
    print(f"{'milliseconds':<18}{'p50':>8}{'p99':>8}{'longest':>9}{'p50/bare':>10}{'p99/bare':>10}")
    for kind, rows in found["summary"].items():
        for route, row in rows.items():
            print(
                f"{f'{kind} {route}':<18}{row['p50']:>8}{row['p99']:>8}{row['longest']:>9}"
                f"{row['p50_of_bare']:>10}{row['p99_of_bare']:>10}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=5, help="runs under load")
    parser.add_argument("--turns", type=int, default=1000, help="turns when idle")
    found = run(parser.parse_args())
    show(found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
