"""`tsd run --assets`: a job with bundles on a cluster of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundles import operations
from tsd.cli.bundle_template import init

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def run(folder, *arguments, code):
    done = subprocess.run(
        [sys.executable, "-m", "tsd.cli.main", "run", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_bundles_of_folders_and_zips_are_loaded(tmp_path):
    init("mine", tmp_path / "mine")
    (tmp_path / "ex.zip").write_bytes(operations("ex", "2.0.0"))
    job = json.loads((tmp_path / "mine/examples/job.json").read_text())
    job["assets"].append("ex")
    job["operations"].insert(2, {"_op": "shout"})
    job["operations"][-1]["path"] = str(tmp_path / "out")
    (tmp_path / "job.json").write_text(json.dumps(job))
    output = run(tmp_path, "job.json", "--assets", "mine", "--assets", "ex.zip", code=0)

    assert "completed: 1 slice, 0 failed" in output
    lines = [line for file in (tmp_path / "out").glob("*.ldjson") for line in file.read_text().splitlines()]
    records = [json.loads(line) for line in lines]
    assert len(records) == 100
    assert all(record["shout"] == "ex:2.0.0!" for record in records)
    assert all(record["greeting"] == f"Hello, {record['ip']}!" for record in records)


def test_a_bundle_that_is_no_good_is_told_and_nothing_runs(tmp_path):
    init("mine", tmp_path / "mine")
    (tmp_path / "mine/operations/__init__.py").write_text("import nowhere")
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    job = tmp_path / "mine/examples/job.json"

    assert "operations/__init__.py, line 1: import nowhere" in run(tmp_path, job, "--assets", "mine", code=78)
    assert "bad.zip was not taken: Failed to save asset" in run(tmp_path, job, "--assets", "bad.zip", code=78)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.zip", "mine"]
