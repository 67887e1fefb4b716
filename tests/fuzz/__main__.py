"""Attack many clusters, or replay one: `python -m tests.fuzz --count 1000000` or `--seed 17`."""

import argparse
import multiprocessing
import sys
import time
import traceback
from collections import Counter

from tests.fuzz.attack import attack

BATCH = 5_000
"""Pieces of nonsense a seed."""


def run(seed: int) -> tuple[int, str, Counter[str], Counter[str]]:
    """One seed: (seed, what broke or empty, what reached a machine, what was refused)."""
    try:
        field = attack(seed, BATCH)
    except Exception:  # noqa: BLE001 - the simulation itself can stumble too, and the trace is shown
        return seed, traceback.format_exc(limit=-12), Counter(), Counter()
    return seed, "", field.nonsense, field.refused


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100_000, help=f"pieces of nonsense, {BATCH} a seed")
    parser.add_argument("--processes", type=int, help="all processors by default")
    parser.add_argument("--stop-after", type=int, default=3, help="broken seeds")
    args = parser.parse_args()
    if args.seed is not None:
        seeds = range(args.seed, args.seed + 1)
    else:
        seeds = range(args.first, args.first + -(-args.count // BATCH))
    began, broken = time.monotonic(), []
    nonsense, refused = Counter[str](), Counter[str]()
    with multiprocessing.get_context("fork").Pool(args.processes) as pool:
        for seed, fault, reached, dropped in pool.imap_unordered(run, seeds):
            nonsense += reached
            refused += dropped
            if fault:
                broken.append(seed)
                print(f"{fault}\nBROKEN: replay with python -m tests.fuzz --seed {seed}", flush=True)
                if len(broken) >= args.stop_after:
                    break
    for link in sorted(nonsense | refused):
        print(f"{link}: {nonsense[link]} taken in, {refused[link]} refused")
    total, seconds = nonsense.total() + refused.total(), time.monotonic() - began
    print(f"{total} pieces of nonsense, {seconds:.0f} s, broken: {sorted(broken)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
