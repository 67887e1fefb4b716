"""Whether and when a failed attempt is made again."""

import random

from tsd.errors import Fatal, NonRetryable

_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 60.0
_GROWTH = (1.8, 2.6)


def may_retry(error: Exception) -> bool:
    """Whether another attempt can help: not after NonRetryable, Fatal, an error with `retryable = False`."""
    if isinstance(error, NonRetryable | Fatal):
        return False
    return getattr(error, "retryable", True) is not False


class BackOff:
    """Waits between the attempts of one slice: from 0.18 to 0.26 s on, about twice as long each time."""

    __slots__ = ("_wait_s",)

    def __init__(self) -> None:
        self._wait_s = _FIRST_WAIT_S

    def next_wait_s(self) -> float:
        """Seconds to wait before the next attempt, at most a minute."""
        growth = random.uniform(*_GROWTH)  # noqa: S311 - spreads retries, guards no secret
        self._wait_s = min(self._wait_s * growth, _LONGEST_WAIT_S)
        return self._wait_s
