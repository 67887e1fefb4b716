"""The table of statuses: what it promises as a whole."""

import pytest

from tsd.core.execution.lifecycle import TRANSITIONS, LifecycleEvent, next_status
from tsd.core.records import INIT_STATUSES, RUNNING_STATUSES, TERMINAL_STATUSES, Status
from tsd.errors import IllegalTransition


def test_every_status_is_in_exactly_one_group():
    """E1."""
    groups = [INIT_STATUSES, RUNNING_STATUSES, TERMINAL_STATUSES]

    assert sorted(status for group in groups for status in group) == sorted(Status)


def test_rejected_is_never_produced():
    """E1."""
    assert Status.REJECTED not in TRANSITIONS.values()


@pytest.mark.parametrize("event", LifecycleEvent)
@pytest.mark.parametrize("status", sorted(TERMINAL_STATUSES))
def test_nothing_leads_out_of_a_terminal_status(status, event):
    """E2: the words that clients match on."""
    with pytest.raises(IllegalTransition, match="Cannot update terminal job status of"):
        next_status(status, event)


def test_nothing_leads_from_running_back_to_the_start():
    """E2: but for `initializing`, which is tried again."""
    backward = [
        (before, event)
        for (before, event), after in TRANSITIONS.items()
        if before in RUNNING_STATUSES and after in INIT_STATUSES
    ]

    assert backward == []


def test_a_running_execution_is_not_placed():
    """E2."""
    with pytest.raises(IllegalTransition, match="Cannot update running job status of"):
        next_status(Status.RUNNING, LifecycleEvent.PLACED)


@pytest.mark.parametrize("status", [status for status in Status if status not in TERMINAL_STATUSES])
def test_every_status_can_reach_an_end(status):
    reached = {status}
    while more := {after for (before, _), after in TRANSITIONS.items() if before in reached} - reached:
        reached |= more

    assert reached & TERMINAL_STATUSES
