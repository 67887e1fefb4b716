"""What one execution is run by: limits from the settings, terms from the job."""

import json
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Limits:
    """Times and bounds of the settings that the machines of an execution keep to.

    Attributes:
        beat_interval_s: Until the welcome says another one.
        worker_disconnect_timeout_s: A worker whose link is down for so long is lost; so long may an execution
            be without any worker once it had one.
        slicer_timeout_s: So long may it wait for its first worker, and a worker for its controller.
        start_failures_max: With more workers in a row that ended before they were ready, and none that is,
            the execution fails.
        commit_interval_s: Rows are gathered for so long.
        start_record_delay_s: A slice that was handed out is recorded as started when it has not ended
            after so long, so that a short slice is one row.
        pending_record_delay_s: A slice that has waited for so long is recorded as pending.
        max_buffered_records: With more rows than that not yet durable nothing is handed out.
        batch_rows: At most so many rows a batch.
        credit_s: A worker holds so much work ahead.
        credit_max: But at most so many slices.
        replay_page: Slices in one page of recovery.
    """

    beat_interval_s: float = 1.0
    worker_disconnect_timeout_s: float = 30.0
    slicer_timeout_s: float = 180.0
    start_failures_max: int = 5
    commit_interval_s: float = 0.01
    start_record_delay_s: float = 0.1
    pending_record_delay_s: float = 1.0
    max_buffered_records: int = 50_000
    batch_rows: int = 5_000
    credit_s: float = 0.05
    credit_max: int = 1024
    replay_page: int = 2_000


@attrs.frozen(kw_only=True)
class JobTerms:
    """The fields of an execution document that the controller decides by."""

    is_once: bool
    max_retries: int
    probation_window_s: float
    slicers: int
    autorecover: bool


def read_terms(execution: str) -> JobTerms:
    """The terms of an execution document (JSON text, already validated by the master).

    Raises:
        ValueError, TypeError, AttributeError, OverflowError, RecursionError: It is no such document.
    """
    document: dict[str, Any] = json.loads(execution)
    return JobTerms(
        is_once=document.get("lifecycle", "once") != "persistent",
        max_retries=int(document.get("max_retries", 3)),
        probation_window_s=int(document.get("probation_window", 300_000)) / 1000,
        slicers=int(document.get("slicers", 1)),
        autorecover=bool(document.get("autorecover", False)),
    )


def pinned_worker(request: str) -> str | None:
    """The worker that a request names in `request_worker`, as text; None when it names none."""
    if '"request_worker"' not in request:
        return None
    try:
        document = json.loads(request)
    except (ValueError, RecursionError):
        return None  # what runs it says what is wrong with it
    pin = document.get("request_worker") if isinstance(document, dict) else None
    return None if pin is None else str(pin)
