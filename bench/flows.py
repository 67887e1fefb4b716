"""Records through whole jobs, beside plain programs that do the same; and the death of a worker."""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.up import Up, running_up
from tests.support.flight_job import write_flights

RECORDS, SLICE = 1_000_000, 10_000
PAIRS = 5
GENERATOR_LOOP = """
import sys, time
from tsd.operations.context import OpContext
from tsd.operations.registry import Registry
from tsd.operations.build import build
from tsd.operations.collector import relax_collector
relax_collector()
definition = Registry().reader("data_generator")
fetcher = build(definition, {"_op": "data_generator"}, "operations[0]", OpContext())
fetcher.initialize()
fetcher.fetch({"count": 1000, "processed": 1000})
began = time.perf_counter()
for _ in range(int(sys.argv[1])):
    fetcher.fetch({"count": int(sys.argv[2]), "processed": 0})
print(time.perf_counter() - began)
"""


def plain_flights(source: Path, sink: Path) -> float:
    """Seconds of a single-process script that does what `flights_job` does."""
    began = time.perf_counter()
    with source.open(newline="", encoding="utf-8") as rows, sink.open("w", encoding="utf-8") as out:
        for row in csv.DictReader(rows):
            if not row["dep_time"]:
                continue
            row["delay_total"] = int(row["dep_delay"]) + int(row["arr_delay"])
            row["route"] = row["origin"]
            out.write(json.dumps({name: value for name, value in row.items() if value != ""}) + "\n")
    return time.perf_counter() - began


def flights_job(source: Path, sink: Path) -> dict:
    """Read csv, three operations, write ldjson; two workers."""
    return {
        "name": "bench flights",
        "lifecycle": "once",
        "workers": 2,
        "operations": [
            {"_op": "file_reader", "path": str(source), "format": "csv", "size": 1_000_000},
            {"_op": "filter_by_required_fields", "required_fields": ["dep_time"]},
            {"_op": "derive", "fields": {"delay_total": "int(dep_delay) + int(arr_delay)"}},
            {"_op": "copy_field", "source": "origin", "destination": "route"},
            {"_op": "file_exporter", "path": str(sink), "format": "ldjson"},
        ],
    }


def run_s(up: Up, job: dict) -> float:
    """Seconds from the POST of a job to the moment at which it was stored as completed."""
    began = time.time()
    execution = up.run(job, look_every_s=0.5)
    return _unix_s(execution["_updated"]) - began


def _unix_s(text: str) -> float:
    from datetime import datetime  # noqa: PLC0415 - the one use

    return datetime.fromisoformat(text).timestamp()


def flights(up: Up, folder: Path) -> list[float]:
    """How many times as fast as the plain script; the start of the job is in it."""
    source = folder / "flights.csv"
    write_flights(source)
    found = []
    for _ in range(PAIRS):
        plain_s = plain_flights(source, folder / "plain.ldjson")
        sink = folder / "out"
        own_s = run_s(up, flights_job(source, sink))
        _check_same(folder / "plain.ldjson", sink)
        shutil.rmtree(sink)
        found.append(plain_s / own_s)
        print(f"# flights: script {plain_s:.2f} s, tsd {own_s:.2f} s", file=sys.stderr, flush=True)
    return found


def _check_same(plain: Path, sink: Path) -> None:
    expected = sum(1 for _ in plain.open(encoding="utf-8"))
    written = sum(1 for path in sink.glob("*.ldjson") for _ in path.open(encoding="utf-8"))
    if expected != written:
        raise RuntimeError(f"{written} records were written, not {expected}")


def records(up: Up) -> list[float]:
    """Records a second of data_generator into noop, beside twice its loop alone."""
    found = []
    job = {
        "name": "bench records",
        "lifecycle": "once",
        "workers": 2,
        "operations": [{"_op": "data_generator", "size": RECORDS}, {"_op": "noop", "size": SLICE}],
    }
    for _ in range(PAIRS):
        loops = RECORDS // SLICE // 4
        command = [sys.executable, "-c", GENERATOR_LOOP, str(loops), str(SLICE)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        bare = loops * SLICE / float(done.stdout)
        execution = up.run(job, look_every_s=0.5)
        first_ms, last_ms = up.ended_between(execution["ex_id"])
        # Two slices had ended when the clock began.
        rate = (RECORDS - 2 * SLICE) / (last_ms - first_ms) * 1000
        found.append(rate / (2 * bare))
        print(f"# records: bare {bare:,.0f} a second, tsd {rate:,.0f}", file=sys.stderr, flush=True)
    return found


def killed_worker(up: Up, folder: Path) -> list[float]:
    """Milliseconds from the SIGKILL of a worker to the moment at which its slice begins elsewhere."""
    found = []
    for number in range(PAIRS):
        journal = folder / f"began-{number}"
        job = {
            "name": "bench kill",
            "lifecycle": "once",
            "workers": 2,
            "operations": [
                {"_op": "data_generator", "size": 40},
                {"_op": "bench_begin", "path": str(journal), "size": 1},
                {"_op": "delay", "ms": 400},
                {"_op": "noop", "size": 1},
            ],
        }
        ex_id = up.client.post("/v1/jobs", job)["ex_id"]
        time.sleep(2.2)
        last = _began(journal)[-1]
        os.kill(last["pid"], signal.SIGKILL)
        killed_at = time.time()
        up.wait(ex_id)
        again = [b for b in _began(journal) if b["slice"] == last["slice"] and b["pid"] != last["pid"]]
        found.append((again[0]["at"] - killed_at) * 1000)
    return found


def _began(journal: Path) -> list[dict]:
    return [json.loads(line) for line in journal.read_text().splitlines()]


def measure() -> dict[str, list[float]]:
    with (
        tempfile.TemporaryDirectory(prefix="tsd-bench-") as folder,
        running_up(4, operation_modules=["bench.operations_of_bench"]) as up,
        contextlib.suppress(KeyboardInterrupt),
    ):
        return {
            "flights": flights(up, Path(folder)),
            "records": records(up),
            "killed worker": killed_worker(up, Path(folder)),
        }
    return {}
