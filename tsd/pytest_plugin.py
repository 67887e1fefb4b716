"""The pytest plugin of tsd: fixtures that make harnesses of `tsd.operations.testing` and close them.

```python
def test_a_greeting_names_the_person(worker_harness):
    harness = worker_harness.for_processor({"_op": "greet"})
    assert harness.run_slice([{"name": "Ada"}]) == [{"name": "Ada", "greeting": "Hello Ada"}]
```

pytest imports this module in every session of an environment that has tsd, so it imports nothing of tsd
before a fixture is used.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tsd.operations.testing.factories import JobHarnesses, SlicerHarnesses, WorkerHarnesses


@pytest.fixture
def worker_harness() -> "Iterator[WorkerHarnesses]":
    """Makes open harnesses of one worker: `worker_harness(job)`, or `.for_processor(...)` and the like."""
    from tsd.operations.testing.factories import WorkerHarnesses  # noqa: PLC0415 - see the module's docstring

    with ExitStack() as stack:
        yield WorkerHarnesses(stack)


@pytest.fixture
def slicer_harness() -> "Iterator[SlicerHarnesses]":
    """Makes open harnesses of a slicer: `slicer_harness(job)`."""
    from tsd.operations.testing.factories import SlicerHarnesses  # noqa: PLC0415 - see the module's docstring

    with ExitStack() as stack:
        yield SlicerHarnesses(stack)


@pytest.fixture
def job_harness() -> "Iterator[JobHarnesses]":
    """Makes open harnesses of a whole job: `job_harness(job)`."""
    from tsd.operations.testing.factories import JobHarnesses  # noqa: PLC0415 - see the module's docstring

    with ExitStack() as stack:
        yield JobHarnesses(stack)
