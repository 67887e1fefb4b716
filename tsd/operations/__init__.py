"""The operation API: what modules of operations import.

```python
from tsd.operations import MapProcessor, OpConfig, operation, opt
```
"""

from tsd.errors import Fatal, NonRetryable, OperationError
from tsd.operations.apis import Api, ApiFactory, ApiRegistry, Observer, api
from tsd.operations.base import (
    BatchProcessor,
    EachProcessor,
    Fetcher,
    FilterProcessor,
    MapProcessor,
    Operation,
    operation,
    reader,
)
from tsd.operations.config import ApiConfig, OpConfig, load, opt, to_wire
from tsd.operations.context import DeadLetterSink, OpContext, Rejection
from tsd.operations.holding import HoldingProcessor
from tsd.operations.record import Record
from tsd.operations.slice import Slice
from tsd.operations.slicers import ParallelSlicer, RecoveryEntry, Slicer
from tsd.operations.windows import DataWindow, WindowProcessor, within_windows

__all__ = [
    "Api",
    "ApiConfig",
    "ApiFactory",
    "ApiRegistry",
    "BatchProcessor",
    "DataWindow",
    "DeadLetterSink",
    "EachProcessor",
    "Fatal",
    "Fetcher",
    "FilterProcessor",
    "HoldingProcessor",
    "MapProcessor",
    "NonRetryable",
    "Observer",
    "OpConfig",
    "OpContext",
    "Operation",
    "OperationError",
    "ParallelSlicer",
    "Record",
    "RecoveryEntry",
    "Rejection",
    "Slice",
    "Slicer",
    "WindowProcessor",
    "api",
    "load",
    "operation",
    "opt",
    "reader",
    "to_wire",
    "within_windows",
]
