"""The garbage collector of a process that runs operations."""

import gc

_YOUNG, _MIDDLE, _OLD = 50_000, 20, 50


def relax_collector() -> None:
    """Let the garbage collector run less often; for the start of a process that runs operations.

    A slice makes and drops tens of thousands of records, none of them garbage in a cycle. With Python's
    defaults the collector looks at them again and again, and takes half of the time of reading a csv file.
    """
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
