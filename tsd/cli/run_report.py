"""How `tsd run` tells the end of a job: how it went, why it failed, and which slices did."""

from collections.abc import Iterator, Sequence

import attrs

from tsd.core.records import Status
from tsd.error_texts import bounded, first_line_of, head_of, one_line, visible

SHOWN_ERRORS = 3
SHOWN_REJECTS = 3
_REQUEST_CHARS = 200


@attrs.frozen(kw_only=True)
class FailedSlice:
    """A slice in error.

    Attributes:
        request: Its JSON.
        error: As of `tsd.error_texts.error_text`.
    """

    slice_id: str
    request: str
    error: str


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of a job.

    Attributes:
        processed: Slices that have ended, those in error included.
        records: How many records were read; None when that is not known.
        rejected: How many records went to the dead letters; None when that is not known.
        rejects: The errors of the first of them.
        errors: The first slices in error.
    """

    status: str
    processed: int
    failed: int
    duration_s: float
    records: int | None = None
    rejected: int | None = None
    rejects: Sequence[str] = ()
    reason: str = ""
    errors: Sequence[FailedSlice] = ()


def told(outcome: Outcome) -> Iterator[str]:
    """The lines that tell it."""
    yield f"{outcome.status}: {_figures(outcome)}, in {outcome.duration_s:g} s"
    if outcome.records:
        yield f"records read: {outcome.records:,}"
    if outcome.status == Status.COMPLETED and not outcome.processed:
        yield "note: the reader found nothing to read: no slice was made"
    if outcome.rejected:
        records = "1 record was" if outcome.rejected == 1 else f"{outcome.rejected:,} records were"
        yield f"note: {records} rejected"
        yield from (f"  {visible(first_line_of(error))}" for error in outcome.rejects)
        if outcome.rejects and outcome.rejected > len(outcome.rejects):
            yield f"  and {outcome.rejected - len(outcome.rejects):,} more"
    if outcome.reason:
        # Where the code is stands with the slices, if there are any.
        reason = first_line_of(outcome.reason) if outcome.errors else head_of(outcome.reason)
        yield f"reason: {visible(reason)}"
    for each in outcome.errors:
        first, *frames = visible(head_of(each.error)).splitlines() or [""]
        yield f"  slice {each.slice_id}: {first}"
        yield from (f"    {line}" for line in frames)
        yield f"    of the request {bounded(one_line(each.request), _REQUEST_CHARS)}"
    if outcome.errors and outcome.failed > len(outcome.errors):
        more = outcome.failed - len(outcome.errors)
        yield f"  and {'1 more slice' if more == 1 else f'{more:,} more slices'} in error"


def _figures(outcome: Outcome) -> str:
    slices = "1 slice" if outcome.processed == 1 else f"{outcome.processed:,} slices"
    if not outcome.processed and outcome.status != Status.COMPLETED:
        return "no slice was run"
    return f"{slices}, {outcome.failed:,} failed"
