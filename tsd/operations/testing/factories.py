"""Makers of open harnesses, for the fixtures of `tsd.pytest_plugin`; whoever has the stack closes them."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import attrs

from tsd.operations.testing.job import JobHarness
from tsd.operations.testing.slicer import SlicerHarness
from tsd.operations.testing.worker import Entry, WorkerHarness


@attrs.frozen
class WorkerHarnesses:
    """Makes `WorkerHarness`es; arguments are those of the class and its class methods."""

    _stack: ExitStack

    def __call__(self, job: Mapping[str, Any], **options: Any) -> WorkerHarness:
        """A harness of a whole job."""
        return self._stack.enter_context(WorkerHarness(job, **options))

    def for_processor(self, operation: Entry, **options: Any) -> WorkerHarness:
        """A harness of one processor."""
        return self._stack.enter_context(WorkerHarness.for_processor(operation, **options))

    def for_fetcher(self, operation: Entry, **options: Any) -> WorkerHarness:
        """A harness of the fetcher of one reader."""
        return self._stack.enter_context(WorkerHarness.for_fetcher(operation, **options))

    def for_sender(self, operation: Entry, api: Entry, **options: Any) -> WorkerHarness:
        """A harness of an operation that writes through an API."""
        return self._stack.enter_context(WorkerHarness.for_sender(operation, api, **options))


@attrs.frozen
class SlicerHarnesses:
    """Makes `SlicerHarness`es; arguments are those of the class."""

    _stack: ExitStack

    def __call__(self, job: Mapping[str, Any], **options: Any) -> SlicerHarness:
        """A harness of the slicer of a job."""
        return self._stack.enter_context(SlicerHarness(job, **options))


@attrs.frozen
class JobHarnesses:
    """Makes `JobHarness`es; arguments are those of the class."""

    _stack: ExitStack

    def __call__(self, job: Mapping[str, Any], **options: Any) -> JobHarness:
        """A harness of a whole job."""
        return self._stack.enter_context(JobHarness(job, **options))
