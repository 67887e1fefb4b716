"""Jobs for tests."""

from typing import Any


def job(**changes: Any) -> dict[str, Any]:
    """A job of ten slices that do nothing."""
    return {"name": "test", "workers": 1, "operations": [{"_op": "test-reader"}, {"_op": "noop"}], **changes}


def endless_job(*, ms: int = 20, **changes: Any) -> dict[str, Any]:
    """A job that goes on until it is stopped; each slice takes `ms`."""
    operations = [{"_op": "data_generator", "size": 5}, {"_op": "delay", "ms": ms}]
    return job(lifecycle="persistent", operations=operations, **changes)
