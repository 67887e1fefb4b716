"""How an execution, or this controller's part in it, comes to its end."""

import attrs

from tsd.core.execution.lifecycle import LifecycleEvent

_NEVER = float("inf")


@attrs.define(kw_only=True)
class Ending:
    """What is waited for before the last word.

    First the slices that run (until `running_until`), then the answers to all records (until
    `records_until`), then the report; infinite means as long as it takes.

    Attributes:
        event: The final report; None when the process only leaves and another generation goes on.
        reason: Why it failed.
        is_reported: The final report is on its way.
        is_completing: The output is being completed, which comes before the report of a completed execution.
        is_output_complete: It was.
    """

    event: LifecycleEvent | None
    running_until: float
    records_until: float
    reason: str = ""
    is_reported: bool = False
    is_completing: bool = False
    is_output_complete: bool = False

    def wake_at(self, now: float) -> float:
        """The next of its limits that is still to come."""
        if self.is_reported:
            return _NEVER
        return min(
            self.running_until if self.running_until > now else _NEVER,
            self.records_until if self.records_until > now else _NEVER,
        )
