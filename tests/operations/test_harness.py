"""The test harness: operations.md section 11 and point 67."""

import copy
import gc
import json
import sys
import threading

import attrs
import pytest
import trio

from tsd.errors import Fatal, JobInvalid, OperationError
from tsd.operations import Record, RecoveryEntry
from tsd.operations.testing import (
    HarnessError,
    JobHarness,
    SlicerHarness,
    WorkerHarness,
    new_test_job,
    new_test_slice,
)

SAMPLES = {"modules": ["tests.support.sample_operations"]}


def for_processor(operation, **options):
    return WorkerHarness.for_processor(operation, **SAMPLES, **options)


def test_a_processor_gets_a_list_and_gives_a_list():
    """Point 67."""
    with for_processor("upper") as harness:
        assert harness.run_slice([{"n": 2}, {"n": 3}]) == [{"n": 4}]
        assert harness.run_slice([]) == []


def test_a_fetcher_gets_a_request_and_gives_records():
    with WorkerHarness.for_fetcher("list_reader", **SAMPLES) as harness:
        assert harness.run_slice({"records": [{"n": 1}]}) == [{"n": 1}]
        assert harness.fetcher.seen == [{"records": [{"n": 1}]}]


def test_a_sender_is_linked_to_its_api(tmp_path):
    sender = {"_op": "file_exporter"}
    api = {"_name": "file_sender_api", "path": str(tmp_path), "format": "ldjson"}
    with WorkerHarness.for_sender(sender, api) as harness:
        assert harness.job["operations"][1]["_api_name"] == "file_sender_api"
        assert harness.run_slice([{"n": 1}]) == [{"n": 1}]

    assert [json.loads(file.read_text()) for file in tmp_path.glob("*.ldjson")] == [{"n": 1}]


@pytest.mark.parametrize(("kind", "error"), [("plain", RuntimeError), ("fatal", Fatal)])
def test_what_an_operation_raises_reaches_the_test_unchanged_and_after_the_hooks(kind, error):
    """Point 67."""
    job = new_test_job(
        {"_op": "test-reader", "passthrough_slice": True}, {"_op": "break", "kind": kind}, "logbook"
    )
    with WorkerHarness(job, **SAMPLES) as harness:
        with pytest.raises(error, match=r"^attempt 1 broke$") as caught:
            harness.run_slice([{"n": 1}])
        lines = harness.get_operation("logbook").lines
        assert lines[-2:] == [("failed",), ("finalizing", "failed")]

    assert type(caught.value) is error
    assert caught.traceback[-1].name == "on_batch"


def test_hooks_run_in_the_documented_order_up_to_finished():
    with for_processor("logbook") as harness:
        harness.run_slice([{"n": 1}])
        harness.flush()
        logbook = harness.get_operation("logbook")

    assert [line[0] for line in logbook.lines] == [
        *("initialized", "start", "complete", "started", "start", "complete"),
        *("completing", "finalizing", "finished"),
        *("flush_start", "start", "complete", "completing", "finalizing", "flush_end", "shutdown"),
    ]


def test_a_failed_slice_can_be_looked_at_instead():
    waits = []
    with for_processor({"_op": "break", "times": 9}, max_retries=2, sleep=waits.append) as harness:
        result = harness.run_slice_full([{"n": 1}])

    assert (result.status, result.retry_count, result.records, result.analytics) == ("error", 2, [], None)
    assert str(result.error) == "attempt 3 broke"
    assert len(waits) == 2


def test_a_mended_slice_says_how_many_retries_it_took_and_its_analytics():
    options = {"max_retries": 3, "analytics": True, "sleep": lambda _s: None}
    with for_processor({"_op": "break", "times": 2}, **options) as harness:
        result = harness.run_slice_full([{"n": 1}])

    assert (result.status, result.retry_count, result.error) == ("completed", 2, None)
    assert result.analytics.size == [1, 1]


def test_records_come_into_the_chain_with_their_metadata_and_the_given_ones_stay():
    """Point 56."""
    record = Record(n=2)
    record.set_key("k")
    record.set_metadata("origin", ["here"])
    record.set_raw_data(b"raw")
    with for_processor("upper") as harness:
        (out,) = harness.run_slice([record])

    assert (out.get_key(), out.get_metadata("origin"), out.get_raw_data()) == ("k", ["here"], b"raw")
    assert out.get_create_time() == record.get_create_time()
    assert (out, record) == ({"n": 4}, {"n": 2})
    assert out.get_metadata("origin") is not record.get_metadata("origin")


def test_each_attempt_gets_new_copies_of_the_records():
    reader = {"_op": "test-reader", "passthrough_slice": True}
    job = new_test_job(reader, "upper", {"_op": "break", "times": 1}, max_retries=1)
    with WorkerHarness(job, sleep=lambda _s: None, **SAMPLES) as harness:
        assert harness.run_slice([{"n": 2}]) == [{"n": 4}]


def test_rejected_records_are_there_whatever_the_action():
    with for_processor({"_op": "upper", "_dead_letter_action": "none"}) as harness:
        assert harness.run_slice([{"n": "x"}, {"n": 2}]) == [{"n": 4}]

    (rejection,) = harness.rejected
    assert (rejection.record, rejection.operation, rejection.action) == ({"n": "x"}, "upper", "none")


def test_apis_and_observers_are_found():
    with for_processor({"_op": "needs_api", "_api_name": "lines"}, apis=["lines", "watcher"]) as harness:
        harness.run_slice([])
        assert harness.get_api("lines") is harness.get_operation("needs_api").product
        assert len(harness.apis.observer("watcher").slices) == 1
        with pytest.raises(OperationError, match='"absent"'):
            harness.get_api("absent")


def test_operations_are_found_by_name_or_place_and_a_wrong_one_is_named():
    with for_processor("upper") as harness:
        assert harness.get_operation(0) is harness.fetcher
        assert harness.get_operation(1) is harness.get_operation("upper") is harness.processors[0]
        for wrong in ("lower", 2, -1):
            with pytest.raises(HarnessError, match="it has test-reader, upper"):
                harness.get_operation(wrong)


def test_a_flush_releases_what_is_held_and_a_slice_after_it_is_normal():
    """Point 32."""
    with for_processor({"_op": "collect", "size": 2, "wait": "1 hour"}) as harness:
        assert harness.flush() == []
        assert harness.run_slice([{"n": 1}, {"n": 2}, {"n": 3}]) == [{"n": 1}, {"n": 2}]
        assert harness.flush_full().status == "flushed"
        assert harness.run_slice([{"n": 4}, {"n": 5}]) == [{"n": 4}, {"n": 5}]
        assert harness.run_slice([{"n": 6}]) == []
        assert harness.flush() == [{"n": 6}]


def test_a_flush_that_fails_raises_what_was_raised():
    job = new_test_job(
        {"_op": "test-reader", "passthrough_slice": True},
        {"_op": "collect", "size": 9, "wait": "1 hour"},
        {"_op": "logbook", "fail_in": "flush_start"},
    )
    with WorkerHarness(job, **SAMPLES) as harness:
        harness.run_slice([{"n": 1}])
        with pytest.raises(RuntimeError, match="flush_start broke"):
            harness.flush()


# --- async methods ------------------------------------------------------------------------------


def test_async_methods_run_on_one_loop_of_the_harness():
    with for_processor("remembers_its_loop") as harness:
        assert harness.run_slice([{"n": 1}]) == [{"n": 1}]
        operation = harness.get_operation("remembers_its_loop")
        assert threading.get_ident() not in operation.threads

    assert (len(operation.tokens), len(operation.threads)) == (1, 1)
    assert operation.calls == ["initialize", "on_batch", "on_slice_completing", "shutdown"]


async def test_a_harness_works_in_an_async_test_too():
    with for_processor("async_upper") as harness:
        await trio.lowlevel.checkpoint()
        assert harness.run_slice([{"n": 2}, {"n": 3}]) == [{"n": 2}]


def test_what_an_async_method_raises_reaches_the_test_and_the_loop_goes_on():
    with for_processor("async_upper") as harness:
        for _ in range(2):
            with pytest.raises(KeyError, match="n"):
                harness.run_slice([{"m": 2}])
        assert harness.run_slice([{"n": 2}]) == [{"n": 2}]


def test_a_harness_leaves_no_thread_and_no_setting_behind():
    threads, thresholds = threading.active_count(), gc.get_threshold()
    with for_processor("async_upper") as harness:
        harness.run_slice([{"n": 2}])
        assert threading.active_count() == threads + 1

    assert (threading.active_count(), gc.get_threshold()) == (threads, thresholds)


def test_plain_operations_need_no_loop():
    threads = threading.active_count()
    with for_processor("upper") as harness:
        harness.run_slice([{"n": 2}])
        assert threading.active_count() == threads


# --- wrong use ----------------------------------------------------------------------------------


def test_every_fault_of_the_job_is_shown_at_once():
    with pytest.raises(JobInvalid) as caught:
        for_processor({"_op": "break", "times": "many", "kind": "loud"}, workers=0)

    assert [path for path, _ in caught.value.faults] == [
        "workers",
        "operations[1].times",
        "operations[1].kind",
    ]
    assert all(path in str(caught.value) for path, _ in caught.value.faults)


def test_a_job_is_not_changed_and_keeps_its_id():
    job = new_test_job("list_reader", "noop", ex_id="mine")
    before = copy.deepcopy(job)
    harness = WorkerHarness(job, **SAMPLES)

    assert (job, harness.job["ex_id"]) == (before, "mine")
    assert WorkerHarness(new_test_job("test-reader", "noop")).job["ex_id"] != "mine"


def test_records_for_a_reader_that_takes_requests_are_refused():
    with (
        WorkerHarness(new_test_job("list_reader", "noop"), **SAMPLES) as harness,
        pytest.raises(HarnessError, match="list_reader takes requests"),
    ):
        harness.run_slice([{"n": 1}])


def test_what_is_neither_records_nor_a_request_is_refused():
    with for_processor("upper") as harness:
        for wrong in ("text", 5, None):
            with pytest.raises(HarnessError, match="is no slice, request or list"):
                harness.run_slice(wrong)


def test_a_harness_outside_of_its_with_statement_says_so():
    harness = for_processor("upper")
    with pytest.raises(HarnessError, match="with statement"):
        harness.run_slice([])
    with harness:
        pass
    with pytest.raises(HarnessError, match="closed"):
        harness.run_slice([])
    with pytest.raises(HarnessError, match="entered once"), harness:
        pass


def test_an_operation_that_can_not_start_is_shut_down_and_raises_what_it_raised():
    job = new_test_job("test-reader", "logbook", "fails_to_initialize")
    harness = WorkerHarness(job, **SAMPLES)
    with pytest.raises(LookupError, match="no such table"), harness:
        pass


def test_connections_are_those_that_are_given():
    operation = {"_op": "upper", "_connection": "near"}
    connections = {"kafka": {"near": {"brokers": ["localhost:9092"]}}}
    with for_processor(operation, connections=connections) as harness:
        assert harness.get_operation("upper").ctx.connections == connections
    with pytest.raises(JobInvalid, match="_connection"):
        for_processor(operation)


def test_a_slice_can_be_given_whole():
    slice_ = new_test_slice({"records": [{"n": 1}]}, ex_id="other", slicer_id=3, slicer_order=7)
    with WorkerHarness.for_fetcher("list_reader", **SAMPLES) as harness:
        result = harness.run_slice_full(slice_)

    assert (result.slice, result.records) == (slice_, [{"n": 1}])


def test_slices_of_a_harness_are_numbered():
    with for_processor("upper") as harness:
        slices = [harness.run_slice_full([]).slice for _ in range(3)]

    assert [slice_.slicer_order for slice_ in slices] == [1, 2, 3]
    assert len({slice_.slice_id for slice_ in slices}) == 3


# --- slicers ------------------------------------------------------------------------------------


def slicer_of(reader, **options):
    fields = {name: options.pop(name) for name in ("slicers", "lifecycle", "workers") if name in options}
    return SlicerHarness(new_test_job(reader, "noop", **fields), **SAMPLES, **options)


def test_a_round_calls_the_slicer_once_and_takes_a_list_whole():
    reader = {"_op": "list_reader", "slices": [{"n": 1}, [{"n": 2}, {"n": 3}], []]}
    with slicer_of(reader) as harness:
        rounds = []
        while not harness.is_finished:
            rounds.append(harness.create_requests())

    assert rounds == [[{"n": 1}], [{"n": 2}, {"n": 3}], [], []]


def test_all_slices_are_numbered_by_slicer_from_one():
    with slicer_of({"_op": "several_slicers", "wanted": [0, 2], "counts": [1, 9, 2]}, slicers=3) as harness:
        slices = harness.all_slices()

    assert harness.slicer_count == 2
    places = [(each.slicer_id, each.slicer_order, each.decode_request()) for each in slices]
    assert places == [
        (0, 1, {"slicer": 0, "n": 0}),
        (2, 1, {"slicer": 2, "n": 0}),
        (2, 2, {"slicer": 2, "n": 1}),
    ]


def test_async_slicers_give_the_same_slices_in_the_same_order_each_time():
    reader = {"_op": "several_slicers", "wanted": [1, 2], "is_async": True}
    with slicer_of(reader, slicers=3) as harness:
        requests = harness.all_requests()

    assert [(request["slicer"], request["n"]) for request in requests] == [(1, 0), (2, 0), (1, 1), (2, 1)]


def test_a_slicer_goes_on_after_the_slice_that_it_is_given():
    with SlicerHarness(
        new_test_job({"_op": "data_generator", "size": 5}, {"_op": "collect", "wait": "1 hour", "size": 2}),
        recovery=[RecoveryEntry(slicer_id=0, last_slice={"count": 2, "processed": 2}, slicer_order=1)],
    ) as harness:
        slices = harness.all_slices()

    assert [(each.slicer_order, each.decode_request()["processed"]) for each in slices] == [(2, 4), (3, 5)]


def test_a_recovery_of_a_slicer_that_can_not_is_refused():
    """Point 13."""
    harness = slicer_of("list_reader", recovery=[RecoveryEntry(slicer_id=0, last_slice={"n": 1})])
    with pytest.raises(OperationError, match="not recoverable"), harness:
        pass


def test_a_slicer_that_never_ends_is_bounded_with_a_clear_error():
    with (
        slicer_of({"_op": "list_reader", "slices": [{"n": n} for n in range(99)]}) as harness,
        pytest.raises(HarnessError, match="has not ended after 11 slices"),
    ):
        harness.all_slices(limit=10)
    with (
        slicer_of({"_op": "list_reader", "slices": [[]] * 99}) as harness,
        pytest.raises(HarnessError, match="has not ended after 0 slices in 12 rounds"),
    ):
        harness.all_slices(limit=10)
    with (
        slicer_of("list_reader", lifecycle="persistent") as harness,
        pytest.raises(HarnessError, match="never ends"),
    ):
        harness.all_slices()


def test_what_a_slicer_raises_is_the_cause_of_the_error():
    with (
        slicer_of({"_op": "list_reader", "slices": ["raise"]}) as harness,
        pytest.raises(OperationError, match="slicer 0 of list_reader") as caught,
    ):
        harness.create_slices()

    assert isinstance(caught.value.__cause__, RuntimeError)
    assert str(caught.value.__cause__) == "the slicer broke"


def test_the_slicer_is_told_how_many_workers_there_are():
    job = new_test_job({"_op": "data_generator"}, "noop", lifecycle="persistent", workers=2)
    with SlicerHarness(job) as harness:
        assert harness.max_queue_length == 6
        harness.set_workers(5)
        assert (harness.max_queue_length, harness.stats["workers"]["connected"]) == (15, 5)


# --- whole jobs ---------------------------------------------------------------------------------


def test_a_job_runs_to_completion_with_its_flush():
    job = new_test_job(
        {"_op": "list_reader", "slices": [{"records": [{"n": n}]} for n in range(3)]},
        {"_op": "collect", "size": 2, "wait": "1 hour"},
    )
    with JobHarness(job, **SAMPLES) as harness:
        results = harness.run_to_completion()

    assert [records for _, records in results] == [[], [{"n": 0}, {"n": 1}], [], [{"n": 2}]]
    assert [slice_.slicer_order for slice_, _ in results] == [1, 2, 3, 0]


def test_a_pass_runs_one_round_of_slices():
    slices = [[{"records": [{"n": 0}]}, {"records": [{"n": 2}]}], {"records": [{"n": 4}]}]
    with JobHarness(new_test_job({"_op": "list_reader", "slices": slices}, "upper"), **SAMPLES) as harness:
        passes = [[records for _, records in harness.run()] for _ in range(3)]

    assert passes == [[[{"n": 0}], [{"n": 4}]], [[{"n": 8}]], []]


def test_a_slice_that_fails_ends_the_run_of_a_job_with_its_error():
    slices = [{"records": [{"n": "x"}]}, {"records": [{"n": 2}]}]
    with JobHarness(new_test_job({"_op": "list_reader", "slices": slices}, "upper"), **SAMPLES) as harness:
        with pytest.raises(ValueError, match="n is text"):
            harness.run_to_completion()
        assert len(harness.worker.fetcher.seen) == 1


def test_hooks_of_the_controller_are_called_around_each_slice():
    job = new_test_job(
        {"_op": "list_reader", "slices": [{"records": []}] * 2}, "noop", apis=[{"_name": "slice_watcher"}]
    )
    with JobHarness(job, **SAMPLES) as harness:
        harness.run_to_completion()
        lines = harness.slicer.apis.observer("slice_watcher").lines

    assert lines == [
        *[("enqueued", 1), ("enqueued", 2)],
        *[("dispatched", 1), ("completed", 1, "completed"), ("dispatched", 2), ("completed", 2, "completed")],
    ]


# --- bundles ------------------------------------------------------------------------------------

OPERATIONS = """
from tsd.operations import MapProcessor, operation

@operation("NAME")
class Shout(MapProcessor):
    def map(self, record, index, batch):
        record["text"] = record["text"].upper() + "MARK"
        return record
"""


@attrs.frozen
class Folder:
    path: object

    def write(self, name, operation, mark="!"):
        """A bundle of one operation."""
        package = self.path / name / f"{name}_operations"
        package.mkdir(parents=True)
        manifest = {"name": name, "version": "1.2.0", "module": package.name}
        (package.parent / "asset.json").write_text(json.dumps(manifest))
        (package / "__init__.py").write_text(OPERATIONS.replace("NAME", operation).replace("MARK", mark))
        return package.parent


@pytest.fixture
def folder(tmp_path):
    path, modules = list(sys.path), set(sys.modules)
    yield Folder(tmp_path)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith(("tsd_asset_", "one_", "two_", "near_")):
            del sys.modules[name]


def test_a_bundle_is_found_above_the_working_directory(folder, monkeypatch):
    bundle = folder.write("near", "near_shout")
    (bundle / "tests").mkdir()
    monkeypatch.chdir(bundle / "tests")

    with WorkerHarness.for_processor("near_shout") as harness:
        assert harness.run_slice([{"text": "a"}]) == [{"text": "A!"}]
        assert harness.get_operation(1).ctx.asset_path("near") == bundle


def test_a_job_may_name_its_bundle_and_the_operations_of_it(folder):
    bundles = [folder.write("one", "same", mark="1"), folder.write("two", "same", mark="2")]
    job = new_test_job(
        {"_op": "test-reader", "passthrough_slice": True}, "same@two:^1.0.0", assets=["one", "two:^1.0.0"]
    )
    with WorkerHarness(job, bundle=bundles) as harness:
        assert harness.run_slice([{"text": "a"}]) == [{"text": "A2"}]
        assert harness.get_operation("same") is harness.processors[0]
    with pytest.raises(JobInvalid, match="Multiple assets"):
        WorkerHarness.for_processor("same", bundle=bundles)


def test_an_asset_that_the_harness_does_not_have_is_a_fault_that_says_so(folder):
    bundle = folder.write("one", "only_one")
    with pytest.raises(JobInvalid, match=r"the harness has one; `bundle=` takes a list"):
        WorkerHarness.for_processor("only_one", bundle=bundle, assets=["other:2.0.0"])


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(HarnessError, match=r"has no asset\.json"):
        WorkerHarness.for_processor("noop", bundle=tmp_path)
    (tmp_path / "asset.json").write_text("{}")
    with pytest.raises(HarnessError, match="Missing name"):
        WorkerHarness.for_processor("noop", bundle=tmp_path)
