"""How many requests are worked on at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs

from tsd.errors import NotReady

ALWAYS_OPEN: Final = frozenset({"/health", "/ready", "/metrics"})
"""Paths that tell whether too much is going on, so they are answered then too."""


@attrs.define(eq=False)
class Gate:
    """Lets up to `count_max` requests in. A request whose body has not come yet is not in."""

    count_max: int
    count: int = attrs.field(default=0, init=False)

    @contextmanager
    def passed(self, path: str) -> Iterator[None]:
        """Count a request while the body runs.

        Raises:
            NotReady: Too many are being worked on.
        """
        if self.count >= self.count_max and path not in ALWAYS_OPEN:
            raise NotReady(f"{self.count} requests are being worked on already, try again later")
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
