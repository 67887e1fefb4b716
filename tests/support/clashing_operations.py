"""An operation whose name is taken."""

from tsd.operations import BatchProcessor, operation


@operation("noop")
class AnotherNoop(BatchProcessor):
    """Clashes with the standard one."""
