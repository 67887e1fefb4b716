"""How late the trio loop is: the time between the moment a task was due and the moment it ran."""

from typing import Final

import trio

from tsd.core.histograms import Histogram, Observations

PAUSE_S: Final = 1.0
BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class LoopLag:
    """Measures while `run` runs.

    Attributes:
        last_s: The lag that was seen last.
    """

    def __init__(self) -> None:
        self.last_s = 0.0
        self._seen = Observations(BOUNDS_S)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due_at = trio.current_time() + PAUSE_S
            await trio.sleep_until(due_at)
            self.last_s = max(0.0, trio.current_time() - due_at)
            self._seen.add(self.last_s)

    def histogram(self) -> Histogram:
        """All lags so far, in seconds."""
        return self._seen.histogram()
