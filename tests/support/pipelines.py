"""Building pipelines and slicer runners of one line in tests."""

from tsd.operations.context import OpContext
from tsd.operations.job import validate_job
from tsd.operations.pipeline import Pipeline
from tsd.operations.registry import Registry
from tsd.operations.slice import Slice
from tsd.operations.slicing import SlicerRunner

REGISTRY = Registry(["tests.support.sample_operations"])


def spec(entry):
    """An operation or API entry; a bare name has no options."""
    return entry if isinstance(entry, dict) else {"_op": entry}


def checked(*operations, apis=(), **fields):
    """A checked job of these operations."""
    raw = {
        "name": "test",
        "analytics": False,
        "operations": [spec(op) for op in operations],
        "apis": list(apis),
        **fields,
    }
    return validate_job(raw, registry=REGISTRY).job


def make_pipeline(*operations, apis=(), context=None, reader="list_reader", **fields):
    """An initialized pipeline behind a list_reader; its retries do not wait."""
    job = checked(reader, *operations, apis=apis, **fields)
    context = context or OpContext(sleep=lambda _s: None)
    pipeline = Pipeline(job | {"ex_id": "ex"}, REGISTRY, context, keep_records=True)
    pipeline.initialize()
    return pipeline


def run(pipeline, *records, order=1):
    """Run one slice with these records."""
    return pipeline.run(Slice.of({"records": list(records)}, ex_id="ex", slicer_order=order))


def make_runner(reader, *, context=None, recovery=(), **fields):
    """An initialized slicer runner."""
    runner = SlicerRunner(checked(reader, "noop", **fields), REGISTRY, context or OpContext())
    runner.initialize(recovery)
    return runner
