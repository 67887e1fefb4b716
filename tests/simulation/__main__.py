"""Run many seeds, or replay one: `python -m tests.simulation --first 0 --count 5000` or `--seed 17`.

With `--good-days` nothing breaks, but operators drain nodes; then no slice may run twice. With `--busy-days`
there is much to do, and nobody may idle.
"""

import argparse
import multiprocessing
import sys
import time
from functools import partial

from tests.simulation.store import BrokenPromise
from tests.simulation.world import simulate, simulate_busy_days, simulate_good_days

DAYS = {"": simulate, "good": simulate_good_days, "busy": simulate_busy_days}


def run(seed: int, *, days: str = "") -> tuple[int, str, int]:
    """One seed: (seed, what broke or empty, messages carried)."""
    try:
        world = DAYS[days](seed)
    except BrokenPromise as error:
        return seed, str(error), 0
    return seed, "", world.network.carried


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one and show its trace when it breaks")
    parser.add_argument(
        "--good-days", dest="days", action="store_const", const="good", help="only what operators do"
    )
    parser.add_argument(
        "--busy-days", dest="days", action="store_const", const="busy", help="much work, slow links, deaths"
    )
    parser.set_defaults(days="")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--stop-after", type=int, default=5, help="broken seeds")
    args = parser.parse_args()
    if args.seed is not None:
        _, broken, carried = run(args.seed, days=args.days)
        print(broken or f"seed {args.seed}: every promise held over {carried} messages")
        return 1 if broken else 0
    began, failed, messages, done = time.monotonic(), [], 0, 0
    with multiprocessing.get_context("fork").Pool() as pool:
        seeds = range(args.first, args.first + args.count)
        for seed, broken, carried in pool.imap_unordered(partial(run, days=args.days), seeds):
            done += 1
            messages += carried
            if broken:
                failed.append(seed)
                print("BROKEN " + broken.splitlines()[-1], flush=True)
                if len(failed) >= args.stop_after:
                    break
            if done % 500 == 0:
                print(f"{done} seeds, {time.monotonic() - began:.0f} s", flush=True)
    seconds = time.monotonic() - began
    print(f"{done} seeds, {messages} messages, {seconds:.0f} s, {len(failed)} broken: {sorted(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
