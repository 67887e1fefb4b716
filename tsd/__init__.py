"""tsd: sliced data-processing jobs on a cluster."""

__version__ = "0.1.0"
