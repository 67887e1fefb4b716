"""The master's idea of the time: Unix seconds that never jump while it runs, and go on over a restart."""

import time

import attrs


@attrs.frozen
class Clock:
    """Unix time read once, carried on by the monotonic clock: nobody's lease ends because a clock was set."""

    _offset: float = attrs.field(factory=lambda: time.time() - time.monotonic(), init=False)

    def now(self) -> float:
        """Unix seconds."""
        return self._offset + time.monotonic()
