"""The operations that docs/operations.md shows: what a reader copies from there must work."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemons import cluster_for
from tsd.errors import JobInvalid
from tsd.operations.context import OpContext
from tsd.operations.job import validate_job
from tsd.operations.pipeline import Pipeline
from tsd.operations.registry import Registry
from tsd.operations.slice import Slice
from tsd.operations.slicers import RecoveryEntry
from tsd.operations.slicing import SlicerRunner
from tsd.operations.testing import WorkerHarness

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/operations.md"
EXAMPLE = re.compile(r"^<!-- example: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples():
    """The blocks of the page by the name in the comment before them."""
    return dict(EXAMPLE.findall(PAGE.read_text()))


@pytest.fixture
def folder(tmp_path):
    """A folder with the files that the page shows; the job writes into it."""
    for name, text in examples().items():
        if "." in name:  # the others are commands
            (tmp_path / name).write_text(text.replace("/tmp/my-job", str(tmp_path / "out")))
    return tmp_path


@pytest.fixture
def registry(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    yield Registry(["my_operations"])
    sys.modules.pop("my_operations", None)
    sys.modules.pop("my_apis", None)


@pytest.fixture
def job(folder, registry):
    raw = json.loads((folder / "my_job.json").read_text())
    return validate_job(raw, registry=registry).job | {"ex_id": "ex"}


def written(folder):
    """The numbers that the job wrote, in order."""
    lines = [line for file in (folder / "out").glob("*.ldjson") for line in file.read_text().splitlines()]
    return sorted(json.loads(line)["number"] for line in lines)


def all_requests(runner):
    made = runner.make(room=100, budget_s=10)
    assert made.is_finished
    return [json.loads(request) for _, requests in made.slices for request in requests]


def test_the_job_runs_through_the_slicer_and_the_pipeline(job, registry, folder):
    runner = SlicerRunner(job, registry, OpContext())
    runner.initialize()
    requests = all_requests(runner)
    runner.shutdown()
    pipeline = Pipeline(job, registry, OpContext())
    pipeline.initialize()
    outcomes = [
        pipeline.run(Slice.of(request, ex_id="ex", slicer_order=order))
        for order, request in enumerate(requests, 1)
    ]
    pipeline.shutdown()

    assert [outcome.state for outcome in outcomes] == ["completed"] * 3
    assert written(folder) == [min(n, 200) for n in range(1, 251)]
    assert len(list((folder / "out").glob("*.ldjson"))) == 3


def test_its_slicer_goes_on_after_the_last_recorded_slice(job, registry):
    first = SlicerRunner(job, registry, OpContext())
    first.initialize()
    requests = all_requests(first)
    again = SlicerRunner(job, registry, OpContext())
    again.initialize([RecoveryEntry(slicer_id=0, last_slice=requests[0], slicer_order=1)])

    assert all_requests(again) == requests[1:]


def test_its_processor_rejects_what_is_no_number(job, registry):
    rejections = []
    pipeline = Pipeline(job, registry, OpContext(on_reject=rejections.append))
    clamp = pipeline.operations[1]

    assert clamp.map({"number": "many"}, 0, []) is None
    assert [rejection.error for rejection in rejections] == ["number is no number"]


def test_its_options_are_checked_all_at_once(folder, registry):
    raw = json.loads((folder / "my_job.json").read_text())
    raw["operations"][0]["size"] = 0
    del raw["operations"][1]["high"]

    with pytest.raises(JobInvalid) as caught:
        validate_job(raw, registry=registry)

    assert [path for path, _ in caught.value.faults] == ["operations[0].size", "operations[1].high"]


def test_the_test_of_the_page_passes_with_plain_pytest(folder):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:randomly",
        "-W",
        "error",
        "test_my_operations.py",
    ]
    ran = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout


def test_its_apis_are_shared_and_its_observer_watches(folder, registry):
    raw = json.loads((folder / "my_lookup.json").read_text())
    with WorkerHarness(raw, modules=["my_apis"]) as harness:
        assert harness.run_slice([{"code": "AA"}, {"code": "ZZ"}]) == [{"code": "AA", "name": "American"}]
        assert harness.apis.observer("counter").count == 1
        assert harness.get_api("lookup:codes").keys() == ["name_them"]
        (rejects,) = [each for each in harness.apis.components if each.name == "rejects"]

    assert rejects.taken == [({"code": "ZZ"}, "nobody knows ZZ")]


@pytest.mark.slow
def test_its_modules_pass_a_strict_type_checker(folder):
    """The public API is typed: `py.typed` is there, and nothing that a module of operations uses is untyped."""
    # As an installed tsd is looked at: mypy does not see what is installed as editable.
    (folder / "mypy.ini").write_text("[mypy]\n[mypy-tsd.*]\nfollow_imports = silent\n")
    modules = ["my_operations.py", "my_apis.py", "test_my_operations.py"]
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / ".mypy_cache"), *modules],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.slow
def test_the_command_runs_the_job_on_a_real_cluster(folder):
    command = examples()["command"].strip()
    words = command.removeprefix("PYTHONPATH=. tsd ").split()
    assert words[0] == "run", command

    ran = subprocess.run(
        [sys.executable, "-m", "tsd.cli.main", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert written(folder) == [min(n, 200) for n in range(1, 251)]


@pytest.mark.slow
def test_the_bundle_can_be_uploaded_and_runs(request, folder, tmp_path_factory):
    with cluster_for(request, tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.start_up()
        address = cluster.url.removeprefix("http://")
        commands = examples()["bundle_commands"].replace("localhost:5678", address)
        done = subprocess.run(
            ["bash", "-euc", commands], cwd=folder, capture_output=True, text=True, timeout=60, check=True
        )
        raw = json.loads((folder / "my_job.json").read_text()) | {"assets": ["my_bundle"]}
        _, ex_id = cluster.post_job(raw)
        execution = cluster.wait_status(ex_id, "completed")

    assert json.loads(done.stdout) == {"asset_id": execution["assets"][0]}
    assert len(written(folder)) == 250
