"""Two revisions beside each other: every figure of `bench.rows`, by turns.

The other revision is checked out below `build/`, gets this bench, and runs with the same libraries.

    python -m bench.compare v0.1.0 --rounds 2 --only starts,rates
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from bench.rows import GROUPS, ROWS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def checked_out(revision: str, folder: Path) -> Path:
    """A work tree of the revision with this bench."""
    subprocess.run(
        ["git", "-C", str(ROOT), "worktree", "add", "--detach", "--force", str(folder), revision], check=True
    )
    shutil.rmtree(folder / "bench", ignore_errors=True)
    shutil.copytree(HERE, folder / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    # What benches borrow from the tests is of this revision, too, unless it would not fit the other one.
    return folder


def figures(tree: Path, groups: str, name: Path) -> dict[str, list[float]]:
    """All values that a run in this tree gives."""
    command = [sys.executable, "-m", "bench", "--only", groups, "--json", str(name)]
    subprocess.run(command, cwd=tree, stdout=subprocess.DEVNULL, check=False)
    return {key: row["values"] for key, row in json.loads(name.read_text())["rows"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default=",".join(GROUPS), help="groups, with commas between them")
    args = parser.parse_args()
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    other = checked_out(args.revision, build / "compared")
    found: dict[str, dict[str, list[float]]] = {"this": {}, args.revision: {}}
    try:
        for number in range(args.rounds):
            for name, tree in ((args.revision, other), ("this", ROOT)):
                values = figures(tree, args.only, build / f"compare-{number}-{name.replace('/', '_')}.json")
                for key, some in values.items():
                    found[name].setdefault(key, []).extend(some)
    finally:
        subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(other)], check=False)
    print(f"| what | {args.revision} | this one | this / {args.revision} |\n| --- | --- | --- | --- |")
    for row in ROWS:
        before, now = found[args.revision].get(row.key), found["this"].get(row.key)
        if before and now:
            old, new = statistics.median(before), statistics.median(now)
            print(f"| {row.what} ({row.unit}) | {old:.3g} | {new:.3g} | {new / old if old else 0:.2f} |")


if __name__ == "__main__":
    main()
