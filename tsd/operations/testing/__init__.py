"""Running operations in tests, with the parts that run them in a cluster.

```python
from tsd.operations.testing import WorkerHarness

def test_a_greeting_names_the_person():
    with WorkerHarness.for_processor({"_op": "greet"}) as harness:
        assert harness.run_slice([{"name": "Ada"}]) == [{"name": "Ada", "greeting": "Hello Ada"}]
```

The job is checked as the master checks it, and its components are built and run by the pipeline of a worker
and by the slicer runner of a controller. Nothing here is a copy of them.
"""

from tsd.operations.testing.errors import HarnessError
from tsd.operations.testing.job import JobHarness
from tsd.operations.testing.jobs import new_test_job, new_test_slice
from tsd.operations.testing.slicer import SlicerHarness
from tsd.operations.testing.worker import SliceResult, WorkerHarness

__all__ = [
    "HarnessError",
    "JobHarness",
    "SliceResult",
    "SlicerHarness",
    "WorkerHarness",
    "new_test_job",
    "new_test_slice",
]
