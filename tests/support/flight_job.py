"""The demo-size job of the failure tests, and a plain script that knows what must come out.

The input has as many rows and columns as the real flights of 2013 (336,776 by 19), made from a seed, so that the
tests need no download. The script shares nothing with tsd but the meaning of the job.
"""

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path
from random import Random

ROWS = 336_776
CARRIERS = ["9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV"]
FIELDS = ["id", "month", "day", "dep_time", "dep_delay", "arr_delay", "carrier", "origin", "distance", "note"]


def write_flights(path: Path, rows: int = ROWS) -> None:
    """Write the input: some flights are cancelled, some notes have letters of several bytes."""
    rng = Random(2013)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        for number in range(rows):
            is_cancelled = rng.random() < 0.025
            writer.writerow(
                [
                    number,
                    rng.randint(1, 12),
                    rng.randint(1, 28),
                    "" if is_cancelled else rng.randint(0, 2359),
                    "" if is_cancelled else rng.randint(-20, 300),
                    "" if is_cancelled else rng.randint(-40, 300),
                    rng.choice(CARRIERS),
                    rng.choice(["EWR", "JFK", "LGA"]),
                    rng.randint(80, 4983),
                    rng.choice(["", "zu spät", "café", "遅延", "plain words, with a comma"]),
                ]
            )


def job(source: Path, sink: Path, *, delay_ms: int = 20, size: int = 100_000, workers: int = 3, **more):
    """Read in byte slices, drop the cancelled, derive a field, write ldjson by carrier."""
    return {
        "name": "flights",
        "lifecycle": "once",
        "workers": workers,
        "analytics": False,
        "operations": [
            {"_op": "file_reader", "path": str(source), "format": "csv", "size": size},
            {"_op": "delay", "ms": delay_ms},
            *more.pop("operations", []),
            {"_op": "derive", "fields": {"delay_total": "int(dep_delay) + int(arr_delay)"}},
            {"_op": "filter", "field": "dep_time", "regex": "^$"},
            {"_op": "file_exporter", "path": str(sink), "format": "ldjson", "partition_by": ["carrier"]},
        ],
        **more,
    }


def _fingerprint(record: dict) -> int:
    text = json.dumps(record, sort_keys=True, ensure_ascii=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def expected(source: Path) -> tuple[Counter, int]:
    """(records by carrier, sum of fingerprints mod 2^64) by a plain script."""
    counts: Counter = Counter()
    total = 0
    with source.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if not row["dep_time"]:
                continue
            record = {key: value for key, value in row.items() if value != ""}
            record["delay_total"] = int(row["dep_delay"]) + int(row["arr_delay"])
            counts[row["carrier"]] += 1
            total += _fingerprint(record)
    return counts, total % 2**64


def written(sink: Path) -> tuple[Counter, int]:
    """The same of what stands in the sink; temporary and hidden files do not count."""
    counts: Counter = Counter()
    total = 0
    for path in sorted(sink.rglob("*.ldjson")):
        if any(part.startswith(".") for part in path.relative_to(sink).parts):
            continue
        carrier = path.parent.name.partition("=")[2]
        with path.open(encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                assert record["carrier"] == carrier
                counts[carrier] += 1
                total += _fingerprint({k: v for k, v in record.items() if v is not None})
    return counts, total % 2**64
