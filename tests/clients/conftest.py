"""Drivers of clients, and a cluster for them. They need Node 18 or newer, and npm.

npm fetches what package-lock.json names into a folder of the checkout that git ignores, once.
"""

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
def drivers():
    """The drivers, in a folder where Node finds what they need."""
    lock = HERE / "package-lock.json"
    stamp = INSTALLED / hashlib.sha256(lock.read_bytes()).hexdigest()
    INSTALLED.mkdir(parents=True, exist_ok=True)
    for path in [HERE / "package.json", lock, *HERE.glob("*.[cm]js")]:
        shutil.copy(path, INSTALLED / path.name)
    if not stamp.exists():
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        done = subprocess.run(
            command, check=False, cwd=INSTALLED, capture_output=True, text=True, timeout=INSTALL_WITHIN_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
        stamp.touch()
    return INSTALLED


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
