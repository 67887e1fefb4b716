"""Records a second through operations, beside plain scripts that do the same, and their ratio.

What tsd does here is what a worker does with its slices: a checked job, the slicer, the pipeline, with
hooks and retries around it, in one process and without a cluster. The plain scripts use the same libraries
(csv, msgspec) with nothing around them, and write one file. Each measurement is a process of its own; the
two sides alternate, so that what else the machine does hits both alike. The ratio is the median over the
pairs; below 1 tsd is slower.

The files are `examples/data/flights.csv` (`make demo` puts it there), or as many rows of that shape, made up,
when it is absent; the results say which.

    python -m bench.operations --pairs 5 --json
"""

import argparse
import csv
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.up import machine
from tsd.operations import BatchProcessor, EachProcessor, FilterProcessor, MapProcessor, Record, operation
from tsd.operations.collector import relax_collector
from tsd.operations.context import OpContext
from tsd.operations.job import validate_job
from tsd.operations.pipeline import Pipeline
from tsd.operations.registry import Registry
from tsd.operations.slice import Slice
from tsd.operations.slicing import SlicerRunner

FLIGHTS = Path(__file__).resolve().parents[1] / "examples/data/flights.csv"
MADE_UP_ROWS = 336_776
COLUMNS = [
    *("year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time"),
    *("arr_delay", "carrier", "flight", "tailnum", "origin", "dest", "air_time", "distance"),
    *("hour", "minute", "time_hour"),
]
SLICE_B = 1_000_000


@operation("bench_map")
class BenchMap(MapProcessor):
    """Adds a field to each record."""

    def map(self, record, index, batch):  # noqa: ARG002 - the interface
        record["miles"] = len(record["distance"])
        return record


@operation("bench_filter")
class BenchFilter(FilterProcessor):
    """Keeps one carrier in four or so."""

    def keep(self, record, index, batch):  # noqa: ARG002 - the interface
        return record["carrier"] < "B"


@operation("bench_each")
class BenchEach(EachProcessor):
    """Counts."""

    count = 0

    def each(self, record, index, batch):  # noqa: ARG002 - the interface
        self.count += len(record["origin"])


@operation("bench_batch")
class BenchBatch(BatchProcessor):
    """Adds a field to all records."""

    def on_batch(self, records):
        for record in records:
            record["miles"] = len(record["distance"])
        return records


# --- the two sides ---------------------------------------------------------------------------------


def tsd_seconds(operations: list[dict]) -> tuple[float, int]:
    """Run a job in this process; seconds without its preparation, and the records that were read."""
    relax_collector()
    registry = Registry(["bench.operations"])
    raw = {"name": "bench", "lifecycle": "once", "analytics": False, "operations": operations}
    job = validate_job(raw, registry=registry).job | {"ex_id": "bench"}
    pipeline = Pipeline(job, registry, OpContext())
    pipeline.initialize()
    runner = SlicerRunner(job, registry, OpContext())
    runner.initialize(())
    began = time.perf_counter()
    order, is_more = 0, True
    while is_more:
        made = runner.make(100, 60)
        is_more = not made.is_finished
        for _, requests in made.slices:
            for request in requests:
                order += 1
                outcome = pipeline.run(Slice.of(json.loads(request), ex_id="bench", slicer_order=order))
                if outcome.state != "completed":
                    raise RuntimeError(outcome.error)
    seconds = time.perf_counter() - began
    pipeline.shutdown()
    return seconds, pipeline.records_read


def tsd_step(folder: Path, name: str) -> tuple[float, int]:
    """One operation on records that are there: its bound step, again and again on the same batch."""
    registry = Registry(["bench.operations"])
    raw = {"name": "bench", "operations": [reader("csv", folder), {"_op": name}]}
    pipeline = Pipeline(validate_job(raw, registry=registry).job, registry, OpContext())
    pipeline.initialize()
    relax_collector()
    (step,) = pipeline._steps  # noqa: SLF001 - what a slice calls
    batch = [Record(row) for row in rows_of(folder / "in.csv", 20_000)]
    began = time.perf_counter()
    for _ in range(20):
        step(batch)
    return time.perf_counter() - began, 20 * len(batch)


def plain_step(folder: Path, function: Callable[[list[dict]], list]) -> tuple[float, int]:
    batch = rows_of(folder / "in.csv", 20_000)
    began = time.perf_counter()
    for _ in range(20):
        function(batch)
    return time.perf_counter() - began, 20 * len(batch)


def rows_of(path: Path, count: int) -> list[dict]:
    with path.open(newline="") as file:
        return [row for row, _ in zip(csv.DictReader(file), range(count), strict=False)]


def plain_map(batch: list[dict]) -> list:
    def change(record: dict) -> dict:
        record["miles"] = len(record["distance"])
        return record

    return [change(record) for record in batch]


def plain_filter(batch: list[dict]) -> list:
    def keep(record: dict) -> bool:
        return record["carrier"] < "B"

    return [record for record in batch if keep(record)]


def plain_each(batch: list[dict]) -> list:
    counts = [0]

    def look(record: dict) -> None:
        counts[0] += len(record["origin"])

    for record in batch:
        look(record)
    return batch


def plain_batch(batch: list[dict]) -> list:
    for record in batch:
        record["miles"] = len(record["distance"])
    return batch


def reader(form: str, folder: Path) -> dict:
    return {"_op": "file_reader", "path": str(folder / f"in.{form}"), "format": form, "size": SLICE_B}


def exporter(folder: Path, compression: str) -> dict:
    path = tempfile.mkdtemp(dir=folder)
    return {
        "_op": "file_exporter",
        "path": path,
        "format": "ldjson",
        "compression": compression,
        "durable": False,  # the plain script does not sync either
    }


def three(folder: Path, compression: str) -> list[dict]:
    return [
        {"_op": "filter", "field": ["dep_time", "air_time", "arr_delay"], "value": "NA"},
        {"_op": "bench_map"},
        {"_op": "bench_batch"},
        exporter(folder, compression),
    ]


def plain_read(form: str, folder: Path) -> list[dict]:
    path = folder / f"in.{form}"
    if form == "ldjson":
        return msgspec.json.Decoder(dict).decode_lines(path.read_bytes())
    with path.open(newline="") as file:
        rows = csv.reader(file)
        names = next(rows)
        return [
            {name: value for name, value in zip(names, row, strict=False) if value}
            if "" in row
            else dict(zip(names, row, strict=False))
            for row in rows
        ]


def plain_three(form: str, folder: Path, compression: str) -> tuple[float, int]:
    began = time.perf_counter()
    read = plain_read(form, folder)
    kept = [
        record
        for record in read
        if record.get("dep_time") != "NA"
        and record.get("air_time") != "NA"
        and record.get("arr_delay") != "NA"
    ]
    data = msgspec.json.Encoder().encode_lines(plain_batch(plain_map(kept)))
    if compression == "zstd":
        import zstandard  # noqa: PLC0415 - as tsd does

        data = zstandard.ZstdCompressor(write_checksum=True).compress(data)
    (folder / "out").write_bytes(data)
    return time.perf_counter() - began, len(read)


def plain_reading(form: str, folder: Path) -> tuple[float, int]:
    began = time.perf_counter()
    count = len(plain_read(form, folder))
    return time.perf_counter() - began, count


def plain_writing(folder: Path) -> tuple[float, int]:
    batch = rows_of(folder / "in.csv", 50_000)
    began = time.perf_counter()
    (folder / "out").write_bytes(msgspec.json.Encoder().encode_lines(batch))
    return time.perf_counter() - began, len(batch)


def tsd_writing(folder: Path) -> tuple[float, int]:
    registry = Registry(["bench.operations"])
    raw = {"name": "bench", "operations": [reader("csv", folder), exporter(folder, "none")]}
    context = OpContext()
    job = validate_job(raw, registry=registry).job | {"ex_id": "bench"}
    pipeline = Pipeline(job, registry, context)
    pipeline.initialize()
    relax_collector()
    batch = [Record(row) for row in rows_of(folder / "in.csv", 50_000)]
    sink = pipeline.operations[1]
    context.slice = Slice.of({}, ex_id="bench")
    began = time.perf_counter()
    sink.on_batch(batch)
    sink.on_slice_completing("bench")
    return time.perf_counter() - began, len(batch)


Side = Callable[[Path], tuple[float, int]]
CASES: dict[str, tuple[Side, Side]] = {
    "map, one line a record": (lambda f: tsd_step(f, "bench_map"), lambda f: plain_step(f, plain_map)),
    "filter, one line a record": (
        lambda f: tsd_step(f, "bench_filter"),
        lambda f: plain_step(f, plain_filter),
    ),
    "each, one line a record": (lambda f: tsd_step(f, "bench_each"), lambda f: plain_step(f, plain_each)),
    "batch, one line a record": (lambda f: tsd_step(f, "bench_batch"), lambda f: plain_step(f, plain_batch)),
    "read ldjson": (
        lambda f: tsd_seconds([reader("ldjson", f), {"_op": "noop"}]),
        lambda f: plain_reading("ldjson", f),
    ),
    "read csv": (
        lambda f: tsd_seconds([reader("csv", f), {"_op": "noop"}]),
        lambda f: plain_reading("csv", f),
    ),
    "write ldjson": (tsd_writing, plain_writing),
    "ldjson, 3 operations, ldjson": (
        lambda f: tsd_seconds([reader("ldjson", f), *three(f, "none")]),
        lambda f: plain_three("ldjson", f, "none"),
    ),
    "csv, 3 operations, ldjson": (
        lambda f: tsd_seconds([reader("csv", f), *three(f, "none")]),
        lambda f: plain_three("csv", f, "none"),
    ),
    "csv, 3 operations, ldjson.zst": (
        lambda f: tsd_seconds([reader("csv", f), *three(f, "zstd")]),
        lambda f: plain_three("csv", f, "zstd"),
    ),
}


# --- measuring ---------------------------------------------------------------------------------------


def make_input(folder: Path, source: Path | None) -> str:
    """Write in.csv and in.ldjson; returns what they were made of."""
    target = folder / "in.csv"
    if source is not None:
        target.write_bytes(source.read_bytes())
    else:
        rng = random.Random(1)
        with target.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(_row(rng, number) for number in range(MADE_UP_ROWS))
    encode = msgspec.json.Encoder().encode_lines
    (folder / "in.ldjson").write_bytes(encode(rows_of(target, sys.maxsize)))
    return "made-up flights" if source is None else "flights.csv"


def _row(rng: random.Random, number: int) -> list:
    is_cancelled = rng.random() < 0.03
    delay = "NA" if is_cancelled else math.floor(rng.gauss(7, 40))
    departure = "NA" if is_cancelled else rng.randrange(500, 2359)
    return [
        *(2013, number % 12 + 1, number % 28 + 1, departure, rng.randrange(500, 2359), delay, departure),
        *(rng.randrange(2359), delay, rng.choice(["UA", "B6", "EV", "DL", "AA"]), rng.randrange(6000)),
        *(f"N{rng.randrange(99999)}", rng.choice(["EWR", "JFK", "LGA"]), rng.choice(["ORD", "ATL", "LAX"])),
        *(
            "NA" if is_cancelled else rng.randrange(30, 700),
            rng.randrange(80, 4900),
            number % 24,
            number % 60,
        ),
        "2013-01-01T05:00:00Z",
    ]


def measure(side: int, name: str, folder: Path) -> float:
    """Records a second of one side of a case, in a process of its own."""
    command = [sys.executable, "-m", "bench.operations", "--one", str(side), name, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    seconds, count = json.loads(done.stdout)
    return count / seconds


def run(names: list[str], pairs: int, source: Path | None) -> dict:
    before = machine()
    found = {}
    with tempfile.TemporaryDirectory(prefix="tsd-bench-") as root:
        folder = Path(root)
        data = make_input(folder, source)
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for _ in range(pairs):
            for case in names:
                rates[case].append((measure(0, case, folder), measure(1, case, folder)))
        for case, pairs_of in rates.items():
            ratios = [own / plain for own, plain in pairs_of]
            found[case] = {
                "tsd": round(statistics.median(own for own, _ in pairs_of)),
                "plain": round(statistics.median(plain for _, plain in pairs_of)),
                "ratio": round(statistics.median(ratios), 2),
                "least": round(min(ratios), 2),
                "greatest": round(max(ratios), 2),
            }
    return {
        "bench": "operations",
        "machine": before,
        "load_after": machine()["load"],
        "data": data,
        "pairs": pairs,
        "cases": found,
    }


def show(found: dict) -> None:
    print(
        f"{'records a second, ' + found['data']:<36}{'tsd':>12}{'plain':>12}{'ratio':>8}{'of all pairs':>16}"
    )
    for name, row in found["cases"].items():
        span = f"{row['least']:.2f} to {row['greatest']:.2f}"
        print(f"{name:<36}{row['tsd']:>12,}{row['plain']:>12,}{row['ratio']:>8.2f}{span:>16}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES), help="these cases only")
    parser.add_argument("--json", action="store_true", help="a JSON line instead of the table")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        side, name, folder = args.one
        print(json.dumps(CASES[name][int(side)](Path(folder))))
        return
    found = run(args.case, args.pairs, FLIGHTS if FLIGHTS.exists() else None)
    if args.json:
        print(json.dumps(found))
    else:
        show(found)


if __name__ == "__main__":
    main()
