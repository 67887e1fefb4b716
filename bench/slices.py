"""Durable slices a second of a real cluster, beside the bare loop when there is one.

The cluster is `tsd up`. Its job is data_generator into noop with one record a slice, so what is measured is
what tsd itself costs: making, handing out, running and recording slices. Runs alternate, so that what else
the machine does hits all kinds alike:

* `plain`: analytics off, as the bare loop has none;
* `analytics`: analytics on, the default of a job;
* `limit`: a script that does the same with nothing around it (`--limit`), if there is one. It takes
  `--workers` and `--slices` and prints a JSON line with `slices_per_second`.

The time of a run begins when the first slice has ended (the bare loop's, when its first worker is ready) and
ends when the execution is stored as completed, after every slice is durable. `whole` counts from the
POST, with the start of all processes. A run counts only when the store holds every slice.

    python -m bench.slices --pairs 5 --limit path/to/limit.py
"""

import argparse
import json
import statistics
import subprocess
import sys
from datetime import datetime

from bench.up import Up, machine, running_up


def job(slices: int, workers: int, *, analytics: bool) -> dict:
    """One record a slice: the size of the last operation is the size of a slice."""
    return {
        "name": "bench slices",
        "lifecycle": "once",
        "workers": workers,
        "analytics": analytics,
        "operations": [{"_op": "data_generator", "size": slices}, {"_op": "noop", "size": 1}],
    }


def measure_tsd(up: Up, args: argparse.Namespace, *, analytics: bool) -> dict:
    execution = up.run(job(args.slices, args.workers, analytics=analytics))
    count, first_ms = up.slices(execution["ex_id"])
    if count != args.slices:
        raise RuntimeError(f"{count} of {args.slices} slices are stored as completed")
    posted_ms, done_ms = (_unix_ms(execution[key]) for key in ("_created", "_updated"))
    return {
        "rate": args.slices / (done_ms - first_ms) * 1000,
        "whole": args.slices / (done_ms - posted_ms) * 1000,
    }


def rate_of(up: Up, slices: int, workers: int, *, analytics: bool) -> float:
    """Slices a second of one run."""
    args = argparse.Namespace(slices=slices, workers=workers)
    return measure_tsd(up, args, analytics=analytics)["rate"]


def measure_limit(args: argparse.Namespace) -> dict:
    command = [sys.executable, args.limit, "--workers", str(args.workers), "--slices", str(args.slices)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return {"rate": json.loads(done.stdout)["slices_per_second"]}


def _unix_ms(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1000


def run(args: argparse.Namespace) -> dict:
    kinds = {
        "plain": lambda up: measure_tsd(up, args, analytics=False),
        "analytics": lambda up: measure_tsd(up, args, analytics=True),
    }
    if args.limit:
        kinds["limit"] = lambda _up: measure_limit(args)
    runs: dict[str, list[dict]] = {kind: [] for kind in kinds}
    before = machine()
    with running_up(args.workers + 2) as up:
        up.run(job(2000, args.workers, analytics=True))  # not counted: the first run of a cluster
        for number in range(args.pairs):
            for kind, measure in kinds.items():
                runs[kind].append(measure(up))
                print(f"# {number + 1} {kind} {runs[kind][-1]['rate']:,.0f}", file=sys.stderr, flush=True)
    return {
        "bench": "slices",
        "machine": before,
        "load_after": machine()["load"],
        "slices": args.slices,
        "workers": args.workers,
        "runs": {
            kind: [{key: round(value) for key, value in one.items()} for one in found]
            for kind, found in runs.items()
        },
        "summary": {kind: summary([one["rate"] for one in found]) for kind, found in runs.items()},
        "ratio": ratios(runs) if args.limit else None,
    }


def summary(values: list[float]) -> dict:
    """Median, and the least and the greatest."""
    return {
        "median": round(statistics.median(values)),
        "least": round(min(values)),
        "greatest": round(max(values)),
    }


def ratios(runs: dict[str, list[dict]]) -> dict:
    """Of each kind to the bare loop: the median over pairs of runs that stood side by side."""
    found = {}
    for kind in ("plain", "analytics"):
        pairs = [own["rate"] / bare["rate"] for own, bare in zip(runs[kind], runs["limit"], strict=True)]
        found[kind] = {
            "median": round(statistics.median(pairs), 2),
            "least": round(min(pairs), 2),
            "greatest": round(max(pairs), 2),
        }
    return found


def show(found: dict) -> None:
    print(f"{'slices a second':<18}{'median':>10}{'least':>10}{'greatest':>10}{'of limit':>10}")
    for kind, row in found["summary"].items():
        ratio = (found["ratio"] or {}).get(kind)
        share = f"{ratio['median']:.2f}" if ratio else ""
        print(f"{kind:<18}{row['median']:>10,}{row['least']:>10,}{row['greatest']:>10,}{share:>10}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=40_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--limit", help="script of the bare loop; without it no ratio is given")
    found = run(parser.parse_args())
    show(found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
