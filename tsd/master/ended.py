"""How executions ended, by the name of their job: what an alert needs to say which job failed.

People make names of jobs, some with a date in each, so the names are bounded: those that ended last keep
theirs, and what is forgotten is counted under one name for all others.
"""

from collections import OrderedDict
from collections.abc import Mapping

import attrs

from tsd.core.records import Status
from tsd.observe.metrics import label_value

NAMES_MAX = 200
"""At most so many names have series of their own: two for each way in which their jobs ended."""
OTHERS = "(others)"


@attrs.frozen
class Ends:
    """How often, and when last, in Unix seconds."""

    count: int = 0
    last_s: float = 0.0

    def plus(self, other: "Ends") -> "Ends":
        """Both together."""
        return Ends(self.count + other.count, max(self.last_s, other.last_s))


@attrs.define(eq=False)
class EndedJobs:
    """Counts ends since this master started."""

    _by_name: OrderedDict[str, dict[Status, Ends]] = attrs.field(factory=OrderedDict, init=False)
    _others: dict[Status, Ends] = attrs.field(factory=dict, init=False)

    def note(self, name: str, status: Status, now: float) -> None:
        """An execution of a job of that name has ended."""
        name = label_value(name)
        ends = self._by_name.setdefault(name, {})
        ends[status] = ends.get(status, Ends()).plus(Ends(1, now))
        self._by_name.move_to_end(name)
        if len(self._by_name) > NAMES_MAX:
            _, forgotten = self._by_name.popitem(last=False)
            for each, old in forgotten.items():
                self._others[each] = self._others.get(each, Ends()).plus(old)

    def figures(self) -> Mapping[tuple[str, Status], Ends]:
        """Ends by name and status, as they are now."""
        named = {
            (name, status): ends
            for name, by_status in self._by_name.items()
            for status, ends in by_status.items()
        }
        return named | {(OTHERS, status): ends for status, ends in self._others.items()}
