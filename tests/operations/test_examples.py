"""The example jobs of operations, examples/operations: each is right, and runs to its end.

An example may say in `labels.rejected_records` how many records it rejects on purpose; else it rejects none.
"""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tsd.cli.ops import schema_of_jobs
from tsd.operations.base import Kind
from tsd.operations.job import validate_job
from tsd.operations.registry import Registry
from tsd.operations.testing import JobHarness

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples/operations"
OUTPUT = "/tmp/tsd-examples"
EXAMPLES = sorted(FOLDER.glob("*.json"))
REGISTRY = Registry()
OPERATIONS = sorted(
    definition.name
    for definition in REGISTRY.definitions()
    if definition.kind in (Kind.READER, Kind.PROCESSOR)
)
WITHOUT = {"dead_letter_reader"}
"""Operations that no job of people has."""


def read(path):
    return json.loads(path.read_text())


def redirected(value, folder):
    """The job with its output in another folder."""
    if isinstance(value, str):
        return value.replace(OUTPUT, str(folder)) if value.startswith(OUTPUT) else value
    if isinstance(value, list):
        return [redirected(each, folder) for each in value]
    if isinstance(value, dict):
        return {key: redirected(each, folder) for key, each in value.items()}
    return value


def operations_of(job):
    return {entry["_op"] for entry in job["operations"]}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_an_example_that_uses_it(name):
    path = FOLDER / f"{name}.json"

    assert path.exists() != (name in WITHOUT), "take it off the list" if path.exists() else "write one"
    if path.exists():
        assert name in operations_of(read(path))


def test_nothing_is_missing_that_there_is_not():
    assert set(OPERATIONS) >= WITHOUT


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid_and_declares_nothing_unknown(path):
    job = read(path)
    checked = validate_job(job, registry=REGISTRY)

    assert (checked.warnings, checked.unknown_options) == ((), ())
    assert job["name"] == f"{path.stem} example"
    assert (
        list(Draft202012Validator(json.loads(schema_of_jobs(REGISTRY.definitions()))).iter_errors(job)) == []
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_to_its_end_from_the_folder_of_the_project(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    job = read(path)

    with JobHarness(redirected(job, tmp_path)) as harness:
        results = harness.run_to_completion()

    assert results, "it has no slices"
    assert len(harness.rejected) == (job.get("labels") or {}).get("rejected_records", 0)
    if OUTPUT in path.read_text():
        assert [file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size], (
            "it wrote nothing"
        )
