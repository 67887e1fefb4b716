"""Records a second through operations, beside a plain script that does the same.

Both run in one process and one thread, in turn, on the same records; tsd's side is the pipeline of a worker
with its checked job, slice by slice. File rows read a file in slices and write one file a slice, not synced,
as the script's is not. A ratio above 1 means that tsd is quicker.

    python -m bench.operations --pairs 5 --json build/operations.json
"""

import argparse
import csv
import gzip
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from bench.up import machine
from tests.support.flight_job import write_flights
from tsd.operations.context import OpContext
from tsd.operations.job import validate_job
from tsd.operations.pipeline import Pipeline
from tsd.operations.registry import Registry
from tsd.operations.slice import Slice
from tsd.operations.slicing import SlicerRunner

ROWS = 60_000
SLICE = 5_000


@attrs.frozen(kw_only=True)
class Case:
    """One row.

    Attributes:
        run: The two sides; each returns how many records came out, which must agree.
    """

    name: str
    tsd: Callable[[], int]
    plain: Callable[[], int]


class Job:
    """A job that is run in this process as a worker runs it: the slices are made before the clock begins."""

    def __init__(self, *operations: dict, out: Path | None = None) -> None:
        registry = Registry(["bench.operations_of_bench"])
        raw = {"name": "bench", "analytics": False, "operations": list(operations)}
        self._job = validate_job(raw, registry=registry).job | {"ex_id": "bench"}
        self._registry = registry
        self._out = out
        slicer = SlicerRunner(self._job, registry, OpContext())
        slicer.initialize(())
        self._slices = []
        while not (made := slicer.make(1000, 1000)).is_finished or made.slices:
            for slicer_id, requests in made.slices:
                self._slices += [(slicer_id, request) for request in requests]
            if made.is_finished:
                break
        self._pipeline: Pipeline | None = None

    def prepare(self) -> None:
        if self._out is not None:
            shutil.rmtree(self._out, ignore_errors=True)
        self._pipeline = Pipeline(self._job, self._registry, OpContext(), keep_records=True)
        self._pipeline.initialize()

    def __call__(self) -> int:
        count = 0
        for order, (slicer_id, request) in enumerate(self._slices, start=1):
            slice_ = Slice(ex_id="bench", slicer_id=slicer_id, slicer_order=order, request=request)
            outcome = self._pipeline.run(slice_)
            if outcome.error:
                raise RuntimeError(outcome.error)
            count += len(outcome.records)
        return count


def processors(records: list[dict]) -> list[Case]:
    """Map, filter and batch over records in memory; making them is on both sides."""

    def batches():
        for start in range(0, ROWS, SLICE):
            yield [dict(record) for record in records[start : start + SLICE]]

    def plain_map() -> int:
        count = 0
        for batch in batches():
            for record in batch:
                record["total"] = record["a"] + record["b"]
            count += len(batch)
        return count

    def plain_filter() -> int:
        return sum(len([record for record in batch if record["a"] % 2]) for batch in batches())

    def plain_batch() -> int:
        count = 0
        for batch in batches():
            batch.sort(key=lambda record: record["b"])
            count += len(batch)
        return count

    def job(name: str) -> Job:
        return Job({"_op": "bench_records", "count": ROWS, "size": SLICE}, {"_op": name})

    return [
        Case(name="MapProcessor: a sum", tsd=job("bench_map"), plain=plain_map),
        Case(name="FilterProcessor: half of them", tsd=job("bench_filter"), plain=plain_filter),
        Case(name="BatchProcessor: sort", tsd=job("bench_batch"), plain=plain_batch),
    ]


def files(folder: Path) -> list[Case]:
    """Files in, files out."""
    table, lines, zipped = folder / "in.csv", folder / "in.ldjson", folder / "in.ldjson.gz"
    write_flights(table, ROWS)
    with table.open(newline="", encoding="utf-8") as rows, lines.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in csv.DictReader(rows))
    zipped.write_bytes(gzip.compress(lines.read_bytes()))
    out, plain_out = folder / "out", folder / "plain"

    def derive(record: dict) -> bool:
        """The three operations of the job; False drops the record."""
        if not record.get("dep_time"):
            return False
        record["delay_total"] = int(record["dep_delay"]) + int(record["arr_delay"])
        record["route"] = record["origin"]
        return True

    def plain_table() -> int:
        count = 0
        with table.open(newline="", encoding="utf-8") as rows, plain_out.open("w", encoding="utf-8") as sink:
            for row in csv.DictReader(rows):
                if derive(row):
                    sink.write(json.dumps({name: value for name, value in row.items() if value}) + "\n")
                    count += 1
        return count

    def plain_lines() -> int:
        count = 0
        with lines.open(encoding="utf-8") as rows, plain_out.open("w", encoding="utf-8") as sink:
            for line in rows:
                record = json.loads(line)
                if derive(record):
                    sink.write(json.dumps(record) + "\n")
                    count += 1
        return count

    def plain_zipped() -> int:
        count = 0
        with (
            gzip.open(zipped, "rt", encoding="utf-8") as rows,
            gzip.open(plain_out, "wt", encoding="utf-8") as sink,
        ):
            for line in rows:
                record = json.loads(line)
                sink.write(json.dumps(record) + "\n")
                count += 1
        return count

    def job(source: Path, form: str, *operations: dict, compression: str = "none") -> Job:
        return Job(
            {
                "_op": "file_reader",
                "path": str(source),
                "format": form,
                "size": 1_000_000,
                "compression": compression,
            },
            *operations,
            {
                "_op": "file_exporter",
                "path": str(out),
                "format": "ldjson",
                "durable": False,
                "compression": compression,
            },
            out=out,
        )

    three = (
        {"_op": "filter_by_required_fields", "required_fields": ["dep_time"]},
        {"_op": "derive", "fields": {"delay_total": "int(dep_delay) + int(arr_delay)"}},
        {"_op": "copy_field", "source": "origin", "destination": "route"},
    )
    lines_three = ({"_op": "filter", "field": "dep_time", "value": ""}, *three[1:])
    return [
        Case(name="csv, 3 operations, ldjson", tsd=job(table, "csv", *three), plain=plain_table),
        Case(name="ldjson, 3 operations, ldjson", tsd=job(lines, "ldjson", *lines_three), plain=plain_lines),
        Case(name="ldjson.gz, ldjson.gz", tsd=job(zipped, "ldjson", compression="gzip"), plain=plain_zipped),
    ]


def measure(case: Case, pairs: int) -> dict:
    """Records a second of both sides, by turns."""
    found: dict[str, list[float]] = {"tsd": [], "plain": []}
    for _ in range(pairs):
        counts = {}
        for side in ("plain", "tsd"):
            run = getattr(case, side)
            if side == "tsd":
                run.prepare()
            began = time.perf_counter()
            counts[side] = run()
            found[side].append(ROWS / (time.perf_counter() - began))
        if counts["tsd"] != counts["plain"]:
            raise RuntimeError(f"{case.name}: {counts}")
    ratios = [own / plain for own, plain in zip(found["tsd"], found["plain"], strict=True)]
    return {
        "tsd": round(statistics.median(found["tsd"])),
        "plain": round(statistics.median(found["plain"])),
        "ratio": round(statistics.median(ratios), 2),
        "least": round(min(ratios), 2),
        "greatest": round(max(ratios), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    args = parser.parse_args()
    records = [{"a": number, "b": -number % 1000, "text": "some words"} for number in range(ROWS)]
    rows = {}
    with tempfile.TemporaryDirectory(prefix="tsd-bench-") as folder:
        for case in (*processors(records), *files(Path(folder))):
            rows[case.name] = measure(case, args.pairs)
            print(f"# {case.name}: {rows[case.name]}", file=sys.stderr, flush=True)
    print("| records a second | tsd | plain script | ratio | least to greatest |")
    print("| --- | --- | --- | --- | --- |")
    for name, row in rows.items():
        spread = f"{row['least']} to {row['greatest']}"
        print(f"| {name} | {row['tsd']:,} | {row['plain']:,} | {row['ratio']} | {spread} |")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
