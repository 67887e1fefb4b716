"""Random numbers that are the same when a slice is run again."""

from random import Random

from tsd.operations.base import Component


def rng_of(component: Component, seed: int | None = None) -> Random:
    """Random numbers for the slice in work, which follow from its id and from who asks.

    Args:
        component: Two operations of a job have different ones.
        seed: Other numbers for the same slice.
    """
    slice_ = component.ctx.slice
    place = "" if slice_ is None else slice_.slice_id
    return Random(f"{seed}/{place}/{component.position}")  # noqa: S311 - guards no secret
