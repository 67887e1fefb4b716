"""The mark that says whether an output is complete, and the calls that set it and take it away."""

import os
from types import MappingProxyType

import pytest
from structlog.testing import capture_logs

from tests.support.files import read_all, source
from tests.support.pipelines import REGISTRY, checked, make_pipeline
from tests.support.pipelines import run as run_slice
from tsd.core.letters import REPLAY_READER
from tsd.errors import OperationError
from tsd.operations.completion import is_whole
from tsd.operations.context import OpContext
from tsd.operations.slicing import SlicerRunner
from tsd.operations.standard.slice_files import SUCCESS, SliceFiles
from tsd.operations.testing.job import JobHarness

WHOLE = MappingProxyType({})
PARTS = [
    {"recovered_execution": "before", "recovered_slice_type": "errors"},
    {"recovered_execution": "before", "recovered_slice_type": "pending"},
    {"recovered_execution": "before", "recovered_slice_type": "all"},
    {"reader": REPLAY_READER},
]


def runner(*outputs, ex_id="ex", reader="list_reader", **fields):
    """The slicer runner of an execution that writes into these folders, as a controller has it."""
    exporters = [{"_op": "file_exporter", "path": str(path), "format": "ldjson"} for path in outputs]
    document = checked(reader, *exporters) | {"ex_id": ex_id, **fields}
    return SlicerRunner(document, REGISTRY, OpContext(execution=document))


def prepared(folder):
    """An output folder as workers make it."""
    SliceFiles(folder).prepare()
    return folder


def test_a_completed_execution_is_marked_and_each_of_its_folders(tmp_path):
    outputs = [prepared(tmp_path / "a"), prepared(tmp_path / "b")]
    run = runner(*outputs)
    assert run.completes

    run.begin()
    assert not any((path / SUCCESS).exists() for path in outputs)
    run.complete()
    assert [(path / SUCCESS).read_bytes() for path in outputs] == [b"", b""]


def test_an_api_marks_its_folder_once_for_the_operations_that_use_it(tmp_path):
    prepared(tmp_path)
    api = {"_name": "file_sender_api:a", "path": str(tmp_path), "format": "raw"}
    linked = {"_op": "file_exporter", "_api_name": "file_sender_api:a"}
    routed = {"_op": "routed_sender", "_api_name": "file_sender_api:a", "routing": {"**": "default"}}
    document = checked("list_reader", linked, routed, apis=[api])

    SlicerRunner(document, REGISTRY, OpContext(execution=document)).complete()

    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [SUCCESS]


def test_a_job_that_writes_no_files_has_nothing_to_complete():
    document = checked("list_reader", "noop")

    assert not SlicerRunner(document, REGISTRY, OpContext(execution=document)).completes


def test_the_next_execution_takes_the_mark_away_until_it_is_complete_itself(tmp_path):
    prepared(tmp_path)
    runner(tmp_path).complete()
    second = runner(tmp_path, ex_id="second")

    second.begin()
    assert not (tmp_path / SUCCESS).exists()
    second.complete()
    assert (tmp_path / SUCCESS).exists()


def test_the_next_controller_of_an_execution_does_it_again(tmp_path):
    prepared(tmp_path)
    for _ in range(3):
        run = runner(tmp_path)
        run.begin()
        assert not (tmp_path / SUCCESS).exists()
        run.complete()
        run.complete()
    assert (tmp_path / SUCCESS).exists()


@pytest.mark.parametrize("fields", PARTS, ids=lambda fields: "-".join(map(str, fields.values())))
@pytest.mark.parametrize("generations", [1, 2])
def test_what_adds_to_an_output_leaves_it_as_complete_as_it_was(tmp_path, fields, generations):
    was_complete, was_not = prepared(tmp_path / "complete"), prepared(tmp_path / "not")
    runner(was_complete).complete()

    for _ in range(generations):
        part = runner(was_complete, was_not, ex_id="part", **fields)
        part.begin()
        assert not (was_complete / SUCCESS).exists()
        part.complete()

    assert (was_complete / SUCCESS).exists()
    assert not (was_not / SUCCESS).exists()


def test_an_addition_that_failed_leaves_no_mark_for_the_next_one(tmp_path):
    prepared(tmp_path)
    runner(tmp_path).complete()
    runner(tmp_path, ex_id="failed", **PARTS[0]).begin()

    after = runner(tmp_path, ex_id="after", **PARTS[0])
    after.begin()
    after.complete()

    assert not (tmp_path / SUCCESS).exists()


def test_a_recovery_of_all_that_goes_on_makes_the_whole_output():
    operations = [{"_op": "file_reader"}, {"_op": "noop"}]

    assert is_whole({"operations": operations})
    assert is_whole({"operations": operations, "recovered_execution": "x", "recovered_slice_type": None})
    assert not any(is_whole({"operations": operations} | fields) for fields in PARTS[:3])


def test_the_mark_is_not_read_as_data(tmp_path):
    prepared(tmp_path)
    (tmp_path / "f.ldjson").write_text("{}\n")
    runner(tmp_path).complete()

    assert read_all(source(tmp_path)) == [{}]


def test_a_folder_that_is_on_another_host_is_told_and_does_no_harm(tmp_path):
    run = runner(tmp_path / "elsewhere")

    with capture_logs() as logs:
        run.begin()
        run.complete()

    assert [(entry["event"], entry["path"]) for entry in logs] == [
        ("output.not_marked", str(tmp_path / "elsewhere"))
    ]
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    prepared(tmp_path / "out")
    (tmp_path / "out" / SUCCESS).mkdir()

    with pytest.raises(OperationError, match=f"file {tmp_path}/out/{SUCCESS} cannot be written"):
        runner(tmp_path / "out").begin()
    assert os.listdir(tmp_path / "out" / SUCCESS) == []


def test_the_harness_completes_the_output_of_a_job_that_ran_to_its_end(tmp_path):
    (tmp_path / "in").write_text("a\nb\n")
    job = {
        "name": "harness",
        "operations": [
            {"_op": "file_reader", "path": str(tmp_path / "in"), "format": "raw"},
            {"_op": "file_exporter", "path": str(tmp_path / "out"), "format": "raw"},
        ],
    }
    with JobHarness(job) as harness:
        harness.run()
        assert not (tmp_path / "out" / SUCCESS).exists()
    with JobHarness(job) as harness:
        harness.run_to_completion()
    assert (tmp_path / "out" / SUCCESS).exists()


@pytest.mark.parametrize("partition_by", [[], ["k"]])
def test_what_slices_wrote_that_were_not_made_again_is_removed(tmp_path, partition_by):
    """An earlier controller had handed out five slices; the input became shorter, and then there were two."""
    spec = {
        "_op": "file_exporter",
        "path": str(tmp_path),
        "format": "ldjson",
        "partition_by": partition_by,
    }
    pipeline = make_pipeline(spec)
    for order in range(1, 6):
        assert run_slice(pipeline, {"k": order}, {"k": -order}, order=order).state == "completed"
    other = tmp_path / "other-execution.ldjson"
    other.write_text("{}\n")
    document = checked("list_reader", spec) | {"ex_id": "ex"}
    runner = SlicerRunner(document, REGISTRY, OpContext(execution=document))

    runner.complete()
    assert len(read_all(source(tmp_path))) == 11
    runner.complete({0: 2})

    assert sorted(record["k"] for record in read_all(source(tmp_path)) if record) == [-2, -1, 1, 2]
    assert other.exists()
    assert (tmp_path / SUCCESS).exists()
    assert len(list((tmp_path / ".tsd" / "slices").iterdir())) == (2 if partition_by else 0)
