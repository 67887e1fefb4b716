"""Points of the operation API that need their own operations: order over several components, async starts, coroutines."""

import functools

import attrs
import pytest
import trio

from tests.support.pipelines import checked, make_pipeline, run
from tsd.errors import JobInvalid
from tsd.operations import (
    Api,
    BatchProcessor,
    EachProcessor,
    Fetcher,
    FilterProcessor,
    MapProcessor,
    Observer,
    OpConfig,
    Slicer,
    api,
    operation,
    opt,
    reader,
)
from tsd.operations.job import validate_job
from tsd.operations.registry import Registry
from tsd.operations.testing import JobHarness, WorkerHarness, new_test_job

THIS = {"modules": [__name__]}
HEARD = []


def undone(method):
    """A decorator that hides that a method is async, as careless ones do."""

    @functools.wraps(method)
    def wrapper(*args):
        return method(*args)

    return wrapper


class _Hears:
    """Notes each hook with the name of the component, as plain and as async methods."""

    def on_slice_initialized(self, slice_id):
        HEARD.append(("initialized", self.name))

    async def on_slice_started(self, slice_id):
        await trio.lowlevel.checkpoint()
        HEARD.append(("started", self.name))

    async def on_slice_finalizing(self, slice_id, outcome):
        await trio.lowlevel.checkpoint()
        HEARD.append(("finalizing", self.name))

    def shutdown(self):
        HEARD.append(("shutdown", self.name))


class NoSlices(Slicer):
    def slice(self):
        return None


@reader("hearing_reader", slicer=NoSlices)
class HearingFetcher(_Hears, Fetcher):
    def fetch(self, request):
        return [request]


@operation("hearing_first")
class HearingFirst(_Hears, BatchProcessor):
    def on_batch(self, records):
        return records


@operation("hearing_second")
class HearingSecond(_Hears, BatchProcessor):
    async def on_batch(self, records):
        return records


@api("hearing_api")
class HearingApi(_Hears, Api):
    async def create(self, *params):
        return self


@api("hearing_observer")
class HearingObserver(_Hears, Observer):
    pass


@pytest.fixture
def heard():
    HEARD.clear()
    return HEARD


def test_apis_and_observers_hear_a_hook_first_then_the_fetcher_then_processors_in_order(heard):
    """Point 27, also when some hooks are async; shutdown goes the same way, operations before APIs."""
    names = ["hearing_api", "hearing_observer", "hearing_reader", "hearing_first", "hearing_second"]
    job = new_test_job(*names[2:], apis=[{"_name": name} for name in names[:2]])
    with WorkerHarness(job, **THIS) as harness:
        harness.run_slice({"n": 1})

    for hook in ("initialized", "started", "finalizing"):
        assert [name for what, name in heard if what == hook] == names, hook
    assert [name for what, name in heard if what == "shutdown"] == [*names[2:], *names[:2]]


# --- starting -----------------------------------------------------------------------------------


@api("slow_starter")
class SlowStarter(Api):
    """Takes its time, on the loop."""

    async def initialize(self):
        HEARD.append("api begins")
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        HEARD.append("api is ready")

    async def create(self, *params):
        HEARD.append("api made")
        return list(params)


@operation("eager")
class Eager(BatchProcessor):
    async def initialize(self):
        HEARD.append("operation begins")
        self.product = self.get_api("slow_starter")

    def on_batch(self, records):
        return records


def test_a_slow_async_api_is_ready_before_any_operation_begins(heard):
    """Points 34 and 38."""
    with WorkerHarness.for_processor("eager", apis=["slow_starter"], **THIS) as harness:
        assert heard == ["api begins", "api is ready", "api made", "operation begins"]
        assert harness.get_operation("eager").product == []


# --- slicers ------------------------------------------------------------------------------------


def test_a_once_slicer_is_done_once_and_stays_so():
    """Point 4."""
    done = []
    with JobHarness(new_test_job("hearing_reader", "noop"), **THIS) as harness:
        harness.slicer.events.on("slicer:done", done.append)
        for _ in range(3):
            assert harness.slicer.create_slices() == []
            assert harness.slicer.is_finished

    assert done == [0]


def test_a_persistent_slicer_that_has_nothing_is_never_done():
    """Point 5."""
    done = []
    with JobHarness(new_test_job("hearing_reader", "noop", lifecycle="persistent"), **THIS) as harness:
        harness.slicer.events.on("slicer:done", done.append)
        for _ in range(3):
            assert harness.run() == []
        assert not harness.slicer.is_finished

    assert done == []


# --- coroutines that nobody awaits ----------------------------------------------------------------


@operation("undone_filter")
class UndoneFilter(FilterProcessor):
    @undone
    async def keep(self, record, index, batch):
        return False


@operation("undone_each")
class UndoneEach(EachProcessor):
    @undone
    async def each(self, record, index, batch):
        record["seen"] = True


@operation("undone_map")
class UndoneMap(MapProcessor):
    @undone
    async def map(self, record, index, batch):
        return record


@operation("undone_batch")
class UndoneBatch(BatchProcessor):
    @undone
    async def on_batch(self, records):
        return records


@pytest.mark.parametrize("name", ["undone_filter", "undone_each", "undone_map", "undone_batch"])
def test_a_coroutine_of_a_method_that_does_not_look_async_fails_the_slice(name):
    """Point 65: never taken for true, for a record, or for done."""
    with WorkerHarness.for_processor(name, **THIS) as harness:
        result = harness.run_slice_full([{"n": 1}, {"n": 2}])

    assert str(result.error) == f"{name} returned a coroutine: declare the method with async def"


# --- every fault at once --------------------------------------------------------------------------


def test_faults_of_fields_operations_apis_and_links_come_together_each_with_its_path():
    raw = {
        "workers": 0,
        "operations": [
            {"_op": "list_reader", "recoverable": "perhaps"},
            {"_op": "nowhere"},
            {"_op": "break", "times": "x", "_api_name": "absent"},
            {"_op": "upper", "_dead_letter_action": "abent"},
        ],
        "apis": [{"_name": "watcher", "mood": 5}, {"_name": "watcher"}],
    }
    with pytest.raises(JobInvalid) as caught:
        checked(*raw.pop("operations"), apis=raw.pop("apis"), **raw)

    assert sorted(path for path, _ in caught.value.faults) == [
        "apis[0].mood",
        "apis[1]._name",
        "operations[0].recoverable",
        "operations[1]._op",
        "operations[2]._api_name",
        "operations[2].times",
        "operations[3]._dead_letter_action",
        "workers",
    ]


# --- deprecations -----------------------------------------------------------------------------------


@attrs.define(kw_only=True)
class AgedConfig(OpConfig):
    old: int = opt(0, doc="a number", deprecated="use new")
    new: int = opt(0, doc="a number")


@operation("aged", config=AgedConfig)
class Aged(BatchProcessor):
    def on_batch(self, records):
        return records


def test_a_deprecated_option_gives_a_warning_with_its_place_and_the_job_is_taken():
    """Point 48: only when it is supplied, even with its default."""
    registry = Registry([__name__])
    raw = new_test_job("test-reader", {"_op": "aged", "old": 0}, {"_op": "aged", "new": 5})

    checked_job = validate_job(raw, registry=registry)

    (warning,) = checked_job.warnings
    assert warning == {
        "type": "JobValidation",
        "reason": {
            "type": "assetOperation",
            "kind": "deprecation",
            "reason": {"field": "old", "description": "use new", "_op": "aged"},
        },
    }
    assert checked_job.job["operations"][1]["old"] == 0


def test_a_record_rejected_with_throw_reaches_the_end_with_its_type():
    """Point 58."""
    with (
        WorkerHarness.for_processor("upper", modules=["tests.support.sample_operations"]) as harness,
        pytest.raises(ValueError, match=r"^n is text$") as caught,
    ):
        harness.run_slice([{"n": "x"}])

    assert type(caught.value) is ValueError


def test_rejects_of_a_failed_slice_are_those_of_its_last_attempt():
    """Points 59 and 60."""
    pipeline = make_pipeline(
        {"_op": "upper", "_dead_letter_action": "sink"},
        {"_op": "break", "times": 99},
        apis=[{"_name": "sink"}],
        max_retries=3,
    )

    assert run(pipeline, {"n": "x"}, {"n": "y"}).state == "error"
    assert [record["n"] for record, _ in pipeline.apis.components[0].taken] == ["x", "y"]
