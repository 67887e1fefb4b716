"""The core of one execution: slices, workers, dispatch, recovery."""
