"""Jobs and executions as documents: what is posted, what is stored, what is shown.

Here, and only here, a document is `dict[str, Any]`: users put into it what they like.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import RowMapping

from tsd.errors import InvalidRequest, StoreCorrupt

Document = dict[str, Any]
"""A JSON object."""

_JOB_KEYS = frozenset({"job_id", "_context", "_created", "_updated", "_deleted", "_deleted_on"})
"""Keys of a shown job that are columns. `active` is in both places; the column wins."""
_EXECUTION_KEYS = frozenset(
    {
        "ex_id",
        "job_id",
        "_context",
        "_status",
        "_created",
        "_updated",
        "_has_errors",
        "_failureReason",
        "_slicer_stats",
        "_dead_letters",
        "slicer_hostname",
        "slicer_port",
        "recovered_execution",
        "recovered_slice_type",
        "_deleted",
        "_deleted_on",
    }
)
"""Keys of a shown execution that are columns."""


_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years that a date can have."""


def shown_time(unix_ms: int) -> str:
    """ISO-8601 in UTC with milliseconds, as in `2026-01-31T01:02:03.004Z`."""
    unix_ms = min(max(unix_ms, _FIRST_MS), _LAST_MS)  # a broken clock is no reason to show nothing
    text = datetime.fromtimestamp(unix_ms // 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{unix_ms % 1000:03}Z"


def encode(value: object) -> str:
    """JSON text, pure ASCII, so that any text a user posts can be stored.

    Raises:
        InvalidRequest: It is not JSON, for example NaN.
    """
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"the document is not JSON: {error}") from error


def decode(text: str) -> Document:
    """The object that `encode` made the text of.

    Raises:
        StoreCorrupt: The text is no JSON object.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise StoreCorrupt(f"a stored document can not be read: {error}") from error
    if not isinstance(value, dict):
        raise StoreCorrupt("a stored document is not an object")
    return value


def stored_job(posted: Mapping[str, Any]) -> str:
    """The text to store of a posted job."""
    return encode({key: value for key, value in posted.items() if key not in _JOB_KEYS})


def active_flag(posted: Mapping[str, Any]) -> int | None:
    """The `active` column of a posted job, whichever way it is spelled; None when it does not say."""
    active = posted.get("active")
    if isinstance(active, bool | int | str):
        return {True: 1, "true": 1, "1": 1, False: 0, "false": 0, "0": 0}.get(active)
    return None


def shown_job(row: RowMapping) -> Document:
    """A job as clients see it, from a row of all columns of `jobs`."""
    document = decode(row["document"])
    document |= {
        "job_id": row["job_id"],
        "_context": "job",
        "_created": shown_time(row["created"]),
        "_updated": shown_time(row["updated"]),
    }
    if row["active"] is not None:
        document["active"] = bool(row["active"])
    return _with_deletion(document, row)


def stored_execution(document: Mapping[str, Any]) -> str:
    """The text to store of an execution."""
    kept = {key: value for key, value in document.items() if key not in _EXECUTION_KEYS}
    return encode(kept | {"metadata": kept.get("metadata", {})})


def shown_execution(row: RowMapping) -> Document:
    """An execution as clients see it, from a row of all columns of `executions`."""
    document = decode(row["document"])
    document |= {
        "ex_id": row["ex_id"],
        "job_id": row["job_id"],
        "_context": "ex",
        "_status": row["status"],
        "_created": shown_time(row["created"]),
        "_updated": shown_time(row["updated"]),
        "_has_errors": bool(row["has_errors"]),
        "_failureReason": row["failure_reason"],
        "_slicer_stats": decode(row["slicer_stats"]),
    }
    for key in ("slicer_hostname", "slicer_port", "recovered_execution", "recovered_slice_type"):
        if row[key] is not None:
            document[key] = row[key]
    return _with_deletion(document, row)


def _with_deletion(document: Document, row: RowMapping) -> Document:
    if row["deleted"]:
        document |= {"_deleted": True, "_deleted_on": shown_time(row["deleted_on"])}
    return document
