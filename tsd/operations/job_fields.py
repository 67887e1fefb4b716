"""The fields of a job itself: defaults, formats, and what else may stand there and is no mistake."""

from collections.abc import Callable
from typing import Any

from tsd.durations import parse_duration
from tsd.operations import formats

WORKERS_MAX = 1_000_000
"""More workers than anybody has; a request for more is a mistake."""
SLICERS_MAX = 10_000
"""All slicers of an execution are in the memory of its controller."""
MOST_WORKERS_BY_DEFAULT = 5
"""The master's host may have many more processors than a job can use."""
OF_KUBERNETES = frozenset(
    {
        "cpu",
        "cpu_execution_controller",
        "ephemeral_storage",
        "external_ports",
        "kubernetes_image",
        "memory",
        "memory_execution_controller",
        "pod_spec_override",
        "prom_metrics_add_default",
        "prom_metrics_enabled",
        "prom_metrics_port",
        "resources_limits_cpu",
        "resources_limits_memory",
        "resources_requests_cpu",
        "resources_requests_memory",
        "targets",
        "volumes",
    }
)
"""Settings of jobs that mean something to Teraslice on Kubernetes only."""
KEPT_FIELDS = frozenset(
    {
        "_context",
        "_created",
        "_deleted",
        "_deleted_on",
        "_failureReason",
        "_has_errors",
        "_slicer_stats",
        "_status",
        "_updated",
        "ex",
        "ex_id",
        "job_id",
        "metadata",
        "recovered_execution",
        "recovered_slice_type",
        "relocatable",
        "slicer_hostname",
        "slicer_port",
        "teraslice_version",
        "warnings",
    }
)
"""What is in the job or execution that a client has read, changed and sent back."""
REMARK_PATTERN = r"^(\$|__|#|//|_?comment$|_?description$)"
"""What `is_remark` takes, as JSON Schema writes it."""
_REMARKS = frozenset({"comment", "_comment", "description", "_description"})
_REMARK_MARKS = ("$", "__", "#", "//")


def is_remark(name: str) -> bool:
    """Whether a name is that of a note to people or tools: `$schema`, `__metadata`, `_comment`."""
    return name in _REMARKS or name.startswith(_REMARK_MARKS)


def fields_of(cpu_count: int) -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    """Default and converter of each top-level field, in the order in which faults are reported."""
    return {
        "active": (True, formats.boolean),
        "analytics": (True, formats.boolean),
        "assets": (None, read_assets),
        "autorecover": (False, formats.boolean),
        "lifecycle": ("once", formats.one_of(("once", "persistent"))),
        "max_retries": (3, formats.natural),
        "name": ("Custom Job", formats.required_string),
        "operations": ([], _operations),
        "apis": ([], _apis),
        "probation_window": (300_000, parse_duration),
        "slicers": (1, formats.up_to(SLICERS_MAX)),
        "workers": (max(1, min(cpu_count, MOST_WORKERS_BY_DEFAULT)), formats.up_to(WORKERS_MAX)),
        "stateful": (False, formats.boolean),
        "labels": (None, _labels),
        "env_vars": ({}, formats.environment),
        "log_level": (None, formats.log_level),
    }


def read_assets(value: Any) -> list[str] | None:
    """Identifiers of bundles, once each.

    Raises:
        ValueError: It is no list of texts.
    """
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueError("assets need to be of type array")  # noqa: TRY004 - a fault of the document
    if not all(isinstance(asset, str) for asset in value):
        raise ValueError("assets needs to be an array of strings")
    return list(dict.fromkeys(value))


def _operations(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) < 2:
        raise ValueError("Operations need to be of type array with at least two operations in it")
    return list(value)


def _apis(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("APIs is required to be an array")  # noqa: TRY004 - a fault of the document
    return list(value)


def _labels(value: Any) -> dict[str, Any] | None:
    return None if value is None else formats.flat_object(value)
