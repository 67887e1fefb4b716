"""Jobs and slices of tests, and what a harness makes of a job: checked, with its registry and bundles."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
from typing_extensions import override

from tsd.ids import new_id
from tsd.operations.bundled import OperationBundle
from tsd.operations.context import OpContext
from tsd.operations.job import validate_job
from tsd.operations.registry import Registry
from tsd.operations.slice import Slice
from tsd.operations.testing.bundles import BundlePaths, names_of, read_bundles, with_assets

Connections = Mapping[str, Mapping[str, Any]]
"""Type of a connection to its name to its settings, as `terafoundation.connectors` of a cluster file."""

PASS_THROUGH: Mapping[str, Any] = {"_op": "test-reader", "passthrough_slice": True}
"""The reader whose requests are the records themselves."""


def new_test_job(*operations: str | Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A job for tests: `once`, one worker, no retries, no analytics.

    Args:
        operations: Entries of `operations`; a text is an entry with that name only.
        fields: Other fields of the job, or other values of those.
    """
    return {
        "name": "test",
        "lifecycle": "once",
        "workers": 1,
        "max_retries": 0,
        "analytics": False,
        "operations": [entry_of(operation, "_op") for operation in operations],
        **fields,
    }


def entry_of(given: str | Mapping[str, Any], key: str) -> dict[str, Any]:
    """An entry of a job; a text is one with only its name."""
    return {key: given} if isinstance(given, str) else dict(given)


def new_test_slice(
    request: Any,
    *,
    ex_id: str = "test",
    slicer_id: int = 0,
    slicer_order: int = 1,
    slice_id: str | None = None,
) -> Slice:
    """A slice of a request: an object; or records, for a job that begins with a pass-through reader.

    Records keep their metadata and raw bytes. Each attempt gets a copy of its own.
    """
    if isinstance(request, Mapping):
        return Slice.of(
            request, ex_id=ex_id, slicer_id=slicer_id, slicer_order=slicer_order, slice_id=slice_id
        )
    return _RecordSlice(
        request="[]",
        records=list(request),
        ex_id=ex_id,
        slicer_id=slicer_id,
        slicer_order=slicer_order,
        slice_id=slice_id,
    )


@attrs.frozen(kw_only=True, eq=False)
class _RecordSlice(Slice):
    """A slice whose request is records, which JSON could not hold."""

    records: Sequence[Any]

    @override
    def decode_request(self) -> list[Any]:
        return copy.deepcopy(list(self.records))


@attrs.frozen(kw_only=True)
class Bench:
    """A checked job and what it needs to be built.

    Attributes:
        job: With every default, as an execution has it, and with an `ex_id`.
        warnings: What is said of the job though it may run.
    """

    job: dict[str, Any]
    registry: Registry
    bundles: tuple[OperationBundle, ...]
    connections: Connections
    warnings: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of(
        cls,
        job: Mapping[str, Any],
        *,
        bundle: BundlePaths = None,
        modules: Iterable[str] = (),
        connections: Connections | None = None,
    ) -> "Bench":
        """Check a job as the master does.

        Raises:
            JobInvalid: With every fault and its path.
            AssetError: A module or a bundle can not be imported.
            HarnessError: A folder holds no bundle.
        """
        bundles = read_bundles(bundle)
        registry = Registry(tuple(modules), bundles)
        connections = connections or {}
        raw = dict(job)
        checked = validate_job(
            with_assets(raw, bundles),
            registry=registry,
            connectors=[name for names in connections.values() for name in names],
            assets=names_of(raw, bundles),
        )
        checked.job.setdefault("ex_id", new_id())
        return cls(
            job=checked.job,
            registry=registry,
            bundles=bundles,
            connections=connections,
            warnings=checked.warnings,
        )

    def context(self, **services: Any) -> OpContext:
        """Services for the components of one process."""
        return OpContext(
            execution=self.job, connections=self.connections, bundles=self.bundles, spawn=None, **services
        )
