"""The fields of what is listed: what lists are sorted by, and most of them filtered by.

Names and types are those of Teraslice's indexes. What else documents have is shown but
never searched. `kind` says what a filter may do with a field; text is split into words, so it has no order.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from typing import Any, Final

import attrs
from sqlalchemy import Column, ColumnElement, Table, Text, literal_column

from tsd.core.records import SliceState
from tsd.errors import InvalidRequest
from tsd.store.schema import assets, dead_letters, executions, jobs, slices
from tsd.store.sqlite import json_field, json_has, json_number, list_has

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


Condition = Callable[[ColumnElement[Any]], ColumnElement[bool]]
"""What is asked of a value."""


@attrs.frozen
class Field:
    """A field.

    Attributes:
        value: The expression of its value in a row, which lists are sorted by.
        kind: What it holds.
        has: Whether a condition holds for what it holds: the value, any element of an array, any word.
        words: Of a text: the column with its words, see `tsd.store.words`.
        narrows: Few rows have a given value, or an index has them in the order that lists usually have.
    """

    value: ColumnElement[Any]
    kind: Kind
    has: Callable[[Condition], ColumnElement[bool]] = attrs.field(
        default=attrs.Factory(lambda self: lambda condition: condition(self.value), takes_self=True)
    )
    words: Column[str] | None = None
    narrows: bool = False


_SPEC: Final = {
    Kind.KEYWORD: ("lifecycle", "log_level", "kubernetes_image"),
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


def _in_document(document: Column[str], kinds: Mapping[Kind, tuple[str, ...]]) -> dict[str, Field]:
    return {
        name: Field((json_number if kind is Kind.NUMBER else json_field)(document, name), kind)
        for kind, names in kinds.items()
        for name in names
    }


def _shared(table: Table, context: str) -> dict[str, Field]:
    """The fields that jobs and executions have in common."""
    document = table.c.document
    return _in_document(document, _SPEC) | {
        "_context": Field(literal_column(f"'{context}'"), Kind.KEYWORD),
        "assets": Field(
            json_field(document, "assets"), Kind.KEYWORD, has=partial(json_has, document, "assets")
        ),
        "name": _text(json_field(document, "name"), table.c.name_words),
        "job_id": Field(table.c.job_id, Kind.KEYWORD, narrows=True),
        "_deleted": Field(table.c.deleted, Kind.BOOLEAN),
        "_created": Field(table.c.created, Kind.DATE),
        "_updated": Field(table.c.updated, Kind.DATE),
        "_deleted_on": Field(table.c.deleted_on, Kind.DATE),
    }


def _text(value: ColumnElement[Any], words: Column[str]) -> Field:
    return Field(value, Kind.TEXT, has=partial(list_has, words), words=words)


JOB_FIELDS: Final[Mapping[str, Field]] = _shared(jobs, "job") | {
    "active": Field(jobs.c.active, Kind.BOOLEAN),
}
EXECUTION_FIELDS: Final[Mapping[str, Field]] = (
    _shared(executions, "ex")
    | _in_document(
        executions.c.document, {Kind.BOOLEAN: ("active", "relocatable"), Kind.KEYWORD: ("teraslice_version",)}
    )
    | {
        "ex_id": Field(executions.c.ex_id, Kind.KEYWORD, narrows=True),
        "_status": Field(executions.c.status, Kind.KEYWORD, narrows=True),
        "_has_errors": Field(executions.c.has_errors, Kind.BOOLEAN),
        "_failureReason": _text(executions.c.failure_reason, executions.c.failure_words),
        "recovered_execution": Field(executions.c.recovered_execution, Kind.KEYWORD),
        "recovered_slice_type": Field(executions.c.recovered_slice_type, Kind.KEYWORD),
        "slicer_hostname": Field(executions.c.slicer_hostname, Kind.KEYWORD),
        "slicer_port": Field(executions.c.slicer_port, Kind.NUMBER),
    }
)
ASSET_FIELDS: Final[Mapping[str, Field]] = {
    "id": Field(assets.c.asset_id, Kind.KEYWORD),
    "name": Field(assets.c.name, Kind.KEYWORD),
    "version": Field(assets.c.version, Kind.KEYWORD),
    "description": Field(assets.c.description, Kind.KEYWORD),
    "platform": Field(assets.c.platform, Kind.KEYWORD),
    "arch": Field(assets.c.arch, Kind.KEYWORD),
    "node_version": Field(assets.c.node_version, Kind.NUMBER),
    "python_version": Field(assets.c.python_version, Kind.KEYWORD),
    "_created": Field(assets.c.created, Kind.DATE),
}
ERROR_FIELDS: Final[Mapping[str, Field]] = {
    "ex_id": Field(executions.c.ex_id, Kind.KEYWORD, narrows=True),
    "slicer_id": Field(
        slices.c.slicer_id,
        Kind.KEYWORD,
        has=lambda condition: condition(slices.c.slicer_id.cast(Text)),
    ),
    "slice_id": Field(slices.c.slice_id, Kind.KEYWORD),
    "slicer_order": Field(slices.c.slicer_order, Kind.NUMBER),
    # Lists have slices in error only.
    "state": Field(literal_column(f"'{SliceState.ERROR.word}'"), Kind.KEYWORD),
    "error": Field(slices.c.error, Kind.KEYWORD),
    "_created": Field(slices.c.created, Kind.DATE),
    "_updated": Field(slices.c.updated, Kind.DATE),
}
LETTER_FIELDS: Final[Mapping[str, Field]] = {
    "ex_id": Field(executions.c.ex_id, Kind.KEYWORD, narrows=True),
    "job_id": Field(dead_letters.c.job_id, Kind.KEYWORD, narrows=True),
    "slice_id": Field(dead_letters.c.slice_id, Kind.KEYWORD),
    "slicer_id": Field(
        dead_letters.c.slicer_id,
        Kind.KEYWORD,
        has=lambda condition: condition(dead_letters.c.slicer_id.cast(Text)),
    ),
    "slicer_order": Field(dead_letters.c.slicer_order, Kind.NUMBER),
    "operation": Field(dead_letters.c.operation, Kind.KEYWORD),
    "position": Field(dead_letters.c.position, Kind.KEYWORD),
    "attempt": Field(dead_letters.c.attempt, Kind.NUMBER),
    "worker": Field(dead_letters.c.worker, Kind.KEYWORD),
    "error": _text(dead_letters.c.error, dead_letters.c.error_words),
    "truncated": Field(dead_letters.c.truncated, Kind.BOOLEAN),
    "replayed": Field(dead_letters.c.replayed, Kind.KEYWORD),
    "time": Field(dead_letters.c.created, Kind.DATE),
}


def order_by(sort: str, fields: Mapping[str, Field], *last: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    """What to order a list by.

    Args:
        sort: `field[:asc|desc]`, several separated by commas; ascending unless it says otherwise.
        fields: What may be sorted by.
        last: Unlike for any two rows. It decides between those that are equal in `sort`, in the direction of
            its last key, so that pages never overlap.

    Raises:
        InvalidRequest: An unknown field, one that has no order, or an unknown direction.
    """
    keys = _keys(sort)
    if len(keys) > SORT_KEYS_MAX:
        raise InvalidRequest(f"sort can have up to {SORT_KEYS_MAX} fields, got {len(keys)}")
    values: list[ColumnElement[Any]] = []
    order, is_descending = [], False
    for key in keys:
        name, _, direction = key.partition(":")
        field = fields.get(name)
        if field is None or field.kind is Kind.TEXT:
            raise InvalidRequest(f'can not sort by "{name[:80]}", only by {", ".join(sortable(fields))}')
        if direction.lower() not in {"", "asc", "desc"}:
            raise InvalidRequest(f'sort direction must be asc or desc, got "{direction[:80]}"')
        is_descending = direction.lower() == "desc"
        values.append(field.value)
        order.append(field.value.desc() if is_descending else field.value.asc())
    # A key that is there twice would keep the database from seeing that an index has this order.
    rest = [key for key in last if not any(key is value for value in values)]
    return [*order, *(key.desc() if is_descending else key.asc() for key in rest)]


def sorted_first(sort: str) -> str:
    """The name that a list is sorted by first; empty for none."""
    return _keys(sort)[0].partition(":")[0] if _keys(sort) else ""


def _keys(sort: str) -> list[str]:
    return [key.strip() for key in sort.split(",") if key.strip()]


def sortable(fields: Mapping[str, Field]) -> list[str]:
    """Names of the fields that a list can be sorted by."""
    return sorted(name for name, field in fields.items() if field.kind is not Kind.TEXT)
