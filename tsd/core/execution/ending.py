"""How an execution, or this controller's part in it, comes to its end."""

import attrs

from tsd.core.execution.lifecycle import LifecycleEvent
from tsd.core.messages import CUT_SHORT_S, LAST_WORDS_S

_NEVER = float("inf")
LAST_RESULTS_S = CUT_SHORT_S + 0.3
"""Workers that put their slices down have said so by then, or never will."""
LAST_RECORDS_S = LAST_WORDS_S - 0.3
"""By then what they said is durable, or never will be; the rest is for the report."""


@attrs.define(kw_only=True)
class Ending:
    """What is waited for before the last word.

    First the slices that run (until `running_until`), then the answers to all records (until
    `records_until`), then the report; infinite means as long as it takes.

    Attributes:
        event: The final report; None when the process only leaves and another generation goes on.
        reason: Why it failed.
        is_cut: The time of running slices is over: workers were told to put them down.
        results_until: So long their last results are waited for.
        is_reported: The final report is on its way.
        is_completing: The output is being completed, which comes before the report of a completed execution.
        is_output_complete: It was.
    """

    event: LifecycleEvent | None
    running_until: float
    records_until: float
    reason: str = ""
    is_cut: bool = False
    results_until: float = -_NEVER
    is_reported: bool = False
    is_completing: bool = False
    is_output_complete: bool = False

    def hasten(self, now: float, running_until: float, records_until: float) -> None:
        """Wait no longer than this. Whose time was over already is on its last words, which were promised."""
        if now < self.running_until:
            self.running_until = min(self.running_until, running_until)
            self.records_until = min(self.records_until, records_until)

    def cut(self, now: float) -> None:
        """The time of running slices is over; what is left is for what they did."""
        self.is_cut = True
        self.results_until = now + LAST_RESULTS_S
        self.records_until = now + LAST_RECORDS_S

    def wake_at(self, now: float) -> float:
        """The next of its limits that is still to come."""
        if self.is_reported:
            return _NEVER
        return min(
            self.running_until if self.running_until > now else _NEVER,
            self.results_until if self.results_until > now else _NEVER,
            self.records_until if self.records_until > now else _NEVER,
        )
