"""Groups of records that are held over slices, and can be put back as they were when a slice began.

Nothing is copied for that: groups only grow or leave, so a mark and a list of what changed since it are
enough. A slice costs what it changes, however much is held.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from tsd.operations.record import Record

K = TypeVar("K", bound=Hashable)


class _Group:
    """Records of one key.

    Attributes:
        number: Counts groups; a group that began later has a higher one.
        since: Number of the slice that its first records came in.
        records: All of them, in the order they came.
        mark: The mark since which its length is noted.
    """

    __slots__ = ("mark", "number", "records", "since")

    def __init__(self, number: int, since: int) -> None:
        self.number = number
        self.since = since
        self.records: list[Record] = []
        self.mark = -1


class HeldGroups(Generic[K]):
    """Lists of records by key, in the order in which the keys came up.

    Attributes:
        count: How many records there are in all groups together.
    """

    def __init__(self) -> None:
        self.count = 0
        # ordered: a dict whose first entries were taken out is slow to find its first one
        self._groups: OrderedDict[K, _Group] = OrderedDict()
        self._begun = 0
        self._mark = 0
        self._changes: list[tuple[K, _Group, int | None]] = []

    def __len__(self) -> int:
        return len(self._groups)

    def keys(self) -> list[K]:
        """The keys of all groups, oldest first."""
        return list(self._groups)

    def oldest(self) -> K:
        """The key that came up first; there must be one."""
        return next(iter(self._groups))

    def since(self) -> int | None:
        """The number of the slice that brought the first records of the oldest group."""
        return next(iter(self._groups.values())).since if self._groups else None

    def extend(self, key: K, records: Sequence[Record], slice_number: int) -> None:
        """Put records into the group of a key, which begins with them when there is none.

        Args:
            key: Of the group.
            records: What to add.
            slice_number: The `OpContext.slice_number` that they came in.
        """
        if not records:
            return
        group = self._groups.get(key)
        if group is None:
            self._begun += 1
            group = self._groups[key] = _Group(self._begun, slice_number)
        if group.mark != self._mark:
            group.mark = self._mark
            self._changes.append((key, group, len(group.records)))
        group.records += records
        self.count += len(records)

    def pop(self, key: K) -> list[Record]:
        """Take the group of a key out; its records are still those of the group, so they must not be changed.

        Raises:
            KeyError: There is none.
        """
        group = self._groups.pop(key)
        self._changes.append((key, group, None))
        self.count -= len(group.records)
        return group.records

    def mark(self) -> int:
        """A name for what is held now; it makes earlier marks void."""
        self._changes.clear()
        self._mark += 1
        return self._mark

    def roll_back(self, mark: int) -> None:
        """Hold again what was held at the mark.

        Raises:
            ValueError: There was another mark since.
        """
        if mark != self._mark:
            raise ValueError("only what was held at the newest mark is still known")
        for key, group, length in reversed(self._changes):
            if length is None:
                self._groups[key] = group
            elif length:
                del group.records[length:]
            else:
                del self._groups[key]
        # groups that came back stand at the end, and lengths are noted anew from here on
        self._groups = OrderedDict(sorted(self._groups.items(), key=lambda item: item[1].number))
        self.count = sum(len(group.records) for group in self._groups.values())
        self._changes.clear()
        for group in self._groups.values():
            group.mark = -1
