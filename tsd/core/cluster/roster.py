"""The executions that the master has in its hands."""

from collections.abc import Iterator

import attrs

from tsd.core.cluster.executions import Execution


@attrs.define(kw_only=True)
class Roster:
    """All executions that have not ended, and those that left processes behind.

    What changed during an event is touched, so that the end of the event looks at that only.
    """

    _executions: dict[str, Execution] = attrs.field(factory=dict, init=False)
    _touched: dict[str, Execution] = attrs.field(factory=dict, init=False)

    def __iter__(self) -> Iterator[Execution]:
        return iter(tuple(self._executions.values()))

    def __len__(self) -> int:
        return len(self._executions)

    def get(self, ex_id: str) -> Execution | None:
        """The execution with this id."""
        return self._executions.get(ex_id)

    def add(self, execution: Execution) -> None:
        """Take in one more execution."""
        self._executions[execution.ex_id] = execution
        self.touch(execution)

    def forget(self, execution: Execution) -> None:
        """The execution has ended and nothing of it is left."""
        self._executions.pop(execution.ex_id, None)

    def touch(self, execution: Execution) -> None:
        """Something about the execution may have changed."""
        self._touched[execution.ex_id] = execution

    def touched(self) -> tuple[Execution, ...]:
        """What was touched since `settle`."""
        return tuple(self._touched.values())

    def settle(self) -> None:
        """Everything that was touched has been looked at."""
        self._touched.clear()

    def in_order(self) -> list[Execution]:
        """All, in the order in which they were created."""
        return sorted(self._executions.values(), key=lambda each: (each.record.created, each.ex_id))
