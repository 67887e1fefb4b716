"""Drivers of clients, and a cluster for them. They need Node 18 or newer, and npm.

npm fetches what package-lock.json names into a folder of the checkout that git ignores, once.
"""

import fcntl
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.daemons import ROOT, cluster_for

HERE = Path(__file__).parent
INSTALLED = ROOT / "build" / "clients"
INSTALL_WITHIN_S = 240
DRIVE_WITHIN_S = 150


@pytest.fixture(scope="session")
def drivers(tmp_path_factory):
    """The drivers, in a folder where Node finds what they need."""
    folder = tmp_path_factory.mktemp("drivers")
    for path in HERE.glob("*.[cm]js"):
        shutil.copy(path, folder / path.name)
    (folder / "node_modules").symlink_to(install())
    return folder


def install():
    """Fetch the packages unless they are there; other test processes wait meanwhile."""
    lock = HERE / "package-lock.json"
    folder = INSTALLED / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as only_one:
        fcntl.flock(only_one, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for path in (HERE / "package.json", lock):
                shutil.copy(path, folder / path.name)
            command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
            done = subprocess.run(
                command, check=False, cwd=folder, capture_output=True, text=True, timeout=INSTALL_WITHIN_S
            )
            assert done.returncode == 0, done.stdout + done.stderr
            (folder / "complete").touch()
    return folder / "node_modules"


@pytest.fixture(scope="module")
def up(request, tmp_path_factory):
    settings = {"tsd.operation_modules": ["tests.support.ops"]}
    with cluster_for(request, tmp_path_factory.mktemp("clients"), workers=8, **settings) as cluster:
        cluster.start_up()
        yield cluster


@pytest.fixture(scope="module")
def drive(drivers, up):
    """Run a driver; what each step came to: its value, or `{"message", "code"}` of what it threw."""

    def run(name, *arguments):
        command = ["node", "--no-deprecation", name, up.url, *map(str, arguments)]
        done = subprocess.run(
            command, check=False, cwd=drivers, capture_output=True, text=True, timeout=DRIVE_WITHIN_S
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        found = {line["step"]: line.get("error") or line["value"] for line in lines}
        assert len(found) == len(lines), "each step has a name of its own"
        assert done.returncode == 0, done.stderr + json.dumps(lines[-3:])
        assert done.stderr == ""
        return found

    return run
