"""The begin and the end of an execution, as those see them that write its output.

A worker sees slices only. What concerns the whole output (a mark that says whether it is complete, the
commit of a table) is done by the controller, which has no operations: by two class methods of `Component`,
for each operation and API of the job that has them.

* `begin_execution`: in each generation of the controller, before any slice is handed out.
* `complete_execution`: when every slice is recorded and none is in error, before the execution is reported
  as completed. What it raises fails the execution.

Invariants:

1. The execution is `completed` only after all calls of `complete_execution` have returned.
2. A controller that dies is replaced, and the next one calls both again. So both may be called any number
   of times, in the order begin, complete, begin, complete; the last word is a complete.
3. Neither is called at the end of an execution that failed or was stopped: what `begin_execution` left is
   what stays.
"""

from collections.abc import Mapping
from typing import Any

import attrs
import structlog

from tsd.core.letters import REPLAY_READER
from tsd.operations.base import Component, Definition
from tsd.operations.config import load
from tsd.operations.registry import Registry


@attrs.frozen(kw_only=True)
class ExecutionScope:
    """What an execution makes of its output.

    Attributes:
        execution: Its document.
        is_whole: When it is completed all of the output is there. False for a replay, and for a recovery of
            some
            slices: what they add to was complete before, or still is not.
        last_orders: At the end the order of the last slice of each slicer, if an earlier controller may have
            handed out slices behind them: what these wrote is no part of the output. Else None.
        log: Of the controller.
    """

    execution: Mapping[str, Any]
    is_whole: bool
    last_orders: Mapping[int, int] | None = None
    log: Any = attrs.field(factory=lambda: structlog.get_logger("tsd.operations"))

    @property
    def is_new(self) -> bool:
        """Whether it adds to nothing: it is no recovery and no replay."""
        return self.is_whole and not self.execution.get("recovered_execution")

    @property
    def ex_id(self) -> str:
        """The id of the execution."""
        return str(self.execution.get("ex_id", ""))


def is_whole(execution: Mapping[str, Any]) -> bool:
    """Whether an execution makes all of its output: see `ExecutionScope`."""
    operations = execution.get("operations") or [{}]
    if operations[0].get("_op") == REPLAY_READER:
        return False
    # Without a type everything that is not completed runs again, and then the slicers go on.
    return not execution.get("recovered_execution") or not execution.get("recovered_slice_type")


class Completion:
    """Calls `begin_execution` and `complete_execution` of whatever in a job has them."""

    def __init__(self, job: Mapping[str, Any], registry: Registry, scope: ExecutionScope) -> None:
        """Look for them.

        Raises:
            AssetError: An operation or API is unknown.
            JobInvalid: Options are wrong, which a checked job does not have.
        """
        self._scope = scope
        self._parts: list[tuple[type[Component], Any]] = []
        places = [
            (registry.processor(entry["_op"]), entry, f"operations[{i}]")
            for i, entry in enumerate(job["operations"])
            if i
        ]
        places += [
            (registry.api(entry["_name"]), entry, f"apis[{i}]")
            for i, entry in enumerate(job.get("apis") or ())
        ]
        for definition, entry, path in places:
            if _takes_part(definition):
                config, _ = load(definition.config, entry, path)
                self._parts.append((definition.component, config))

    def __bool__(self) -> bool:
        """Whether anything in the job has them."""
        return bool(self._parts)

    def begin(self) -> None:
        """Tell that the execution begins, or goes on under another controller.

        Raises:
            Exception: What one of them raised.
        """
        for component, config in self._parts:
            component.begin_execution(config, self._scope)

    def complete(self, last_orders: Mapping[int, int] | None = None) -> None:
        """Tell that all slices are done.

        Args:
            last_orders: See `ExecutionScope`.

        Raises:
            Exception: What one of them raised.
        """
        scope = attrs.evolve(self._scope, last_orders=last_orders)
        for component, config in self._parts:
            component.complete_execution(config, scope)


def _takes_part(definition: Definition) -> bool:
    bases = (base for base in definition.component.__mro__ if base is not Component)
    return any(name in vars(base) for base in bases for name in ("begin_execution", "complete_execution"))
