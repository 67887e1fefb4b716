"""Every figure of `bench.rows`: measures them, prints a table and writes JSON.

    python -m bench                      # all, in less than ten minutes
    python -m bench --only starts,cores  # some groups
    python -m bench --json build/a.json  # where the JSON goes

Each group runs in a process of its own, and a group that fails does not keep the others from running.
"""

import argparse
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

from bench.rows import GROUPS, Values, summary, table
from bench.up import machine

GROUP_WITHIN_S = 300
MARK = "VALUES "


def measure_apart(group: str) -> Values:
    """The values of a group, measured in a process of its own.

    Raises:
        RuntimeError: It failed.
    """
    command = [sys.executable, "-m", "bench", "--inside", group]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=GROUP_WITHIN_S, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not found:
        raise RuntimeError(f"{group} ended with {done.returncode}")
    return json.loads(found[-1].removeprefix(MARK))


def measure_all(groups: list[str]) -> tuple[Values, list[str]]:
    """All values, and the groups that failed."""
    values: dict = {}
    failed = []
    for group in groups:
        began = time.monotonic()
        try:
            values.update(measure_apart(group))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"# {group}: {error}", file=sys.stderr)
            failed.append(group)
        print(f"# {group}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return values, failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(GROUPS), help="groups, with commas between them")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    parser.add_argument("--inside", choices=GROUPS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        print(MARK + json.dumps(importlib.import_module(f"bench.{args.inside}").measure()))
        return 0
    groups = args.only.split(",")
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"there is no group {', '.join(sorted(unknown))}; groups are {', '.join(GROUPS)}")
    before = machine()
    values, failed = measure_all(groups)
    print(table(values))
    document = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": before,
        "load_after": machine()["load"],
        "failed": failed,
        "rows": {key: summary(found) | {"values": found} for key, found in values.items()},
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(document, indent=1) + "\n")
    print(f"# {args.json}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
