"""What examples/flights.json must give, computed by a plain script that shares no code with tsd."""

import csv
import hashlib
import io
import json
import zipfile
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path


def expected(zipped):
    """{carrier: (records, checksum)} of the zipped flights; see `checksum`."""
    totals = {}
    with zipfile.ZipFile(zipped) as archive, archive.open("flights.csv") as file:
        for row in csv.DictReader(io.TextIOWrapper(file, "utf-8", newline="")):
            if "NA" in (row["dep_time"], row["air_time"], row["arr_delay"]):
                continue
            speed = Decimal(str(float(row["distance"]) / float(row["air_time"]) * 60))
            row["speed_mph"] = float(speed.quantize(Decimal("0.1"), ROUND_HALF_UP))
            row["total_delay_min"] = int(row["dep_delay"]) + int(row["arr_delay"])
            _add(totals, row["carrier"], row)
    return totals


def found(output):
    """The same of what the exporter wrote into a folder `carrier=XX` for each carrier."""
    totals = {}
    for file in Path(output).glob("carrier=*/*.ldjson"):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            assert file.parent.name == f"carrier={record['carrier']}"
            _add(totals, record["carrier"], record)
    return totals


def checksum(totals):
    """One number for all carriers, whatever their order: the sum of all records' 64-bit hashes."""
    return sum(each for _, each in totals.values()) % 2**64


def _add(totals, carrier, record):
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    value = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    count, total = totals.get(carrier, (0, 0))
    totals[carrier] = (count + 1, (total + value) % 2**64)
