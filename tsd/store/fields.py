"""The fields of jobs, executions and slice records that lists can be sorted by, under the names clients use.

The names and types are those of Teraslice's indexes; fields that are not here exist in documents but are
never searched. `kind` says what a filter may do with a field; text is split into words, so it has no order.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import attrs
from sqlalchemy import ColumnElement

from tsd.errors import InvalidRequest
from tsd.store.schema import executions, jobs, slices
from tsd.store.sqlite import json_field

SORT_KEYS_MAX: Final = 16
"""More keys than anybody needs; each one costs the database work."""


class Kind(StrEnum):
    """What a field holds."""

    KEYWORD = "keyword"
    TEXT = "text"
    BOOLEAN = "boolean"
    NUMBER = "number"
    DATE = "date"
    """Unix milliseconds in the column, ISO-8601 for clients."""


@attrs.frozen
class Field:
    """A field: the expression of its value in a row, and its kind."""

    value: ColumnElement[Any]
    kind: Kind


_SPEC: Final = {
    Kind.KEYWORD: ("assets", "lifecycle", "log_level", "kubernetes_image"),
    Kind.TEXT: ("name",),
    Kind.BOOLEAN: (
        "analytics",
        "autorecover",
        "stateful",
        "ephemeral_storage",
        "prom_metrics_enabled",
        "prom_metrics_add_default",
    ),
    Kind.NUMBER: (
        "max_retries",
        "probation_window",
        "slicers",
        "workers",
        "prom_metrics_port",
        "cpu",
        "cpu_execution_controller",
        "memory",
        "memory_execution_controller",
        "resources_requests_cpu",
        "resources_requests_memory",
        "resources_limits_cpu",
        "resources_limits_memory",
    ),
}
"""Fields that jobs and executions have inside of their documents."""


def _in_document(document: Any, kinds: Mapping[Kind, tuple[str, ...]]) -> dict[str, Field]:
    return {name: Field(json_field(document, name), kind) for kind, names in kinds.items() for name in names}


JOB_FIELDS: Final[Mapping[str, Field]] = _in_document(jobs.c.document, _SPEC) | {
    "job_id": Field(jobs.c.job_id, Kind.KEYWORD),
    "active": Field(jobs.c.active, Kind.BOOLEAN),
    "_deleted": Field(jobs.c.deleted, Kind.BOOLEAN),
    "_created": Field(jobs.c.created, Kind.DATE),
    "_updated": Field(jobs.c.updated, Kind.DATE),
    "_deleted_on": Field(jobs.c.deleted_on, Kind.DATE),
}
EXECUTION_FIELDS: Final[Mapping[str, Field]] = (
    _in_document(executions.c.document, _SPEC)
    | _in_document(
        executions.c.document, {Kind.BOOLEAN: ("active", "relocatable"), Kind.KEYWORD: ("teraslice_version",)}
    )
    | {
        "ex_id": Field(executions.c.ex_id, Kind.KEYWORD),
        "job_id": Field(executions.c.job_id, Kind.KEYWORD),
        "_status": Field(executions.c.status, Kind.KEYWORD),
        "_has_errors": Field(executions.c.has_errors, Kind.BOOLEAN),
        "_failureReason": Field(executions.c.failure_reason, Kind.TEXT),
        "recovered_execution": Field(executions.c.recovered_execution, Kind.KEYWORD),
        "recovered_slice_type": Field(executions.c.recovered_slice_type, Kind.KEYWORD),
        "slicer_hostname": Field(executions.c.slicer_hostname, Kind.KEYWORD),
        "slicer_port": Field(executions.c.slicer_port, Kind.NUMBER),
        "_deleted": Field(executions.c.deleted, Kind.BOOLEAN),
        "_created": Field(executions.c.created, Kind.DATE),
        "_updated": Field(executions.c.updated, Kind.DATE),
        "_deleted_on": Field(executions.c.deleted_on, Kind.DATE),
    }
)
ERROR_FIELDS: Final[Mapping[str, Field]] = {
    "ex_id": Field(executions.c.ex_id, Kind.KEYWORD),
    "slicer_id": Field(slices.c.slicer_id, Kind.KEYWORD),
    "slicer_order": Field(slices.c.slicer_order, Kind.NUMBER),
    "state": Field(slices.c.state, Kind.KEYWORD),
    "error": Field(slices.c.error, Kind.KEYWORD),
    "_created": Field(slices.c.created, Kind.DATE),
    "_updated": Field(slices.c.updated, Kind.DATE),
}


def order_by(sort: str, fields: Mapping[str, Field], last: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    """What to order a list by.

    Args:
        sort: `field[:asc|desc]`, several separated by commas; ascending unless it says otherwise.
        fields: What may be sorted by.
        last: Decides between rows that are equal in `sort`, in the direction of its last key, so that
            pages never overlap.

    Raises:
        InvalidRequest: An unknown field, one that has no order, or an unknown direction.
    """
    keys = [key.strip() for key in sort.split(",") if key.strip()]
    if len(keys) > SORT_KEYS_MAX:
        raise InvalidRequest(f"sort can have up to {SORT_KEYS_MAX} fields, got {len(keys)}")
    order, is_descending = [], False
    for key in keys:
        name, _, direction = key.partition(":")
        field = fields.get(name)
        if field is None or field.kind is Kind.TEXT:
            raise InvalidRequest(f'can not sort by "{name[:80]}", only by {", ".join(sortable(fields))}')
        if direction.lower() not in {"", "asc", "desc"}:
            raise InvalidRequest(f'sort direction must be asc or desc, got "{direction[:80]}"')
        is_descending = direction.lower() == "desc"
        order.append(field.value.desc() if is_descending else field.value.asc())
    return [*order, last.desc() if is_descending else last.asc()]


def sortable(fields: Mapping[str, Field]) -> list[str]:
    """Names of the fields that a list can be sorted by."""
    return sorted(name for name, field in fields.items() if field.kind is not Kind.TEXT)
