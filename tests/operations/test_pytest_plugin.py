"""The pytest plugin, in sessions of pytest of their own, as users have them."""

import json
import subprocess
import sys

import pytest

OPERATIONS = """
from pathlib import Path
from tsd.operations import Fetcher, MapProcessor, Slicer, operation, reader


class TenSlicer(Slicer):
    def initialize(self):
        self._left = [10, 20]

    def slice(self):
        return {"number": self._left.pop(0)} if self._left else None


@reader("tens", slicer=TenSlicer)
class Tens(Fetcher):
    def fetch(self, request):
        return [request]


@operation("plus_one")
class PlusOne(MapProcessor):
    def map(self, record, index, batch):
        record["number"] += 1
        return record

    def shutdown(self):
        with open("closed.txt", "a") as file:
            file.write("closed\\n")
"""
TESTS = """
from pathlib import Path
from tsd.operations.testing import new_test_job


def test_a_processor(worker_harness):
    harness = worker_harness.for_processor("plus_one")
    assert harness.run_slice([{"number": 1}]) == [{"number": 2}]
    assert worker_harness.for_fetcher("tens").run_slice({"number": 5}) == [{"number": 5}]
    assert worker_harness(new_test_job("tens", "plus_one")).run_slice({"number": 5}) == [{"number": 6}]


def test_the_harnesses_were_closed():
    assert Path("closed.txt").read_text().splitlines() == ["closed", "closed"]


def test_a_slicer(slicer_harness):
    assert slicer_harness(new_test_job("tens", "noop")).all_requests() == [{"number": 10}, {"number": 20}]


def test_a_job(job_harness):
    results = job_harness(new_test_job("tens", "plus_one")).run_to_completion()
    assert [records for _, records in results] == [[{"number": 11}], [{"number": 21}]]


async def test_an_async_one(worker_harness):
    assert worker_harness.for_processor("plus_one").run_slice([{"number": 1}]) == [{"number": 2}]
"""
COST = """
import sys

def test_the_plugin_has_imported_nothing_but_itself():
    assert {name for name in sys.modules if name == "tsd" or name.startswith("tsd.")} == {
        "tsd", "tsd.pytest_plugin",
    }
"""


def pytest_in(folder, *arguments):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-W", "error", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def bundle(tmp_path):
    """A bundle with tests, as a user has it."""
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops/__init__.py").write_text(OPERATIONS)
    (tmp_path / "asset.json").write_text(json.dumps({"name": "numbers", "version": "1.0.0"}))
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n")
    (tmp_path / "tests").mkdir()
    return tmp_path


def test_fixtures_make_harnesses_and_close_them(bundle):
    (bundle / "tests/test_numbers.py").write_text(TESTS)

    ran = pytest_in(bundle)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "5 passed" in ran.stdout


def test_a_session_that_uses_no_fixture_pays_nothing(bundle):
    (bundle / "tests/test_cost.py").write_text(COST)

    ran = pytest_in(bundle)

    assert ran.returncode == 0, ran.stdout + ran.stderr
