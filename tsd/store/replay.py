"""Replays: a new execution whose slices are dead letters, stored together with it."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

import attrs
from sqlalchemy import ColumnElement, Connection, RowMapping, case, func, insert, select, update

from tsd.core.letters import Form, entry_point
from tsd.core.records import SliceState
from tsd.errors import NotFound
from tsd.store.executions import Created, CreateExecution, execution_number
from tsd.store.letters import Whose, letter_size, select_letters
from tsd.store.schema import dead_letters, slices

REPLAY_MAX: Final = 10_000
REPLAY_B_MAX: Final = 64 * 1024 * 1024
"""Letters of one replay: it is one transaction, and others wait for that. The rest is for more replays."""
SLICE_MAX: Final = 500
SLICE_B_MAX: Final = 1024 * 1024
"""Letters of one slice of a replay."""
_PARAMETERS_MAX: Final = 10_000
_is_no_record: Final = (dead_letters.c.form != Form.JSON.value) | (
    func.substr(dead_letters.c.record, 1, 1) != "{"
)
_COLUMNS: Final = tuple(dead_letters.c[name] for name in ("record", "form", "raw", "metadata"))


@attrs.frozen(kw_only=True)
class Replayed(Created):
    """A replay that was stored.

    Attributes:
        letters: How many letters it runs again.
        skipped: How many others were asked for, by why they are not among them.
    """

    letters: int
    skipped: Mapping[str, int]


@attrs.frozen(kw_only=True)
class Replay:
    """Store a new job and its execution, whose slices are letters, and mark these as replayed.

    Attributes:
        create: The job and the execution.
        whose: Whose letters.
        where: A condition over `LETTER_FIELDS`; None for all.
        again: Also letters that were replayed before.
    """

    create: CreateExecution
    whose: Whose
    where: ColumnElement[bool] | None = None
    again: bool = False
    is_held: ClassVar[bool] = False

    @property
    def ex_id(self) -> str:
        """Of the new execution."""
        return self.create.ex_id

    def apply(self, connection: Connection, now_ms: int) -> Replayed:
        """See `Write`.

        Raises:
            NotFound: There is no such execution or job, or nothing to replay.
            Conflict: An operation of the job is not the one that rejected the records.
            Gone: A bundle that the execution uses was deleted.
        """
        self.whose.check(connection)
        chosen, skipped = self._choose(connection)
        if not chosen:
            reasons = ", ".join(f"{count} {why}" for why, count in skipped.items() if count)
            raise NotFound(f"There are no dead letters to replay{f' ({reasons})' if reasons else ''}")
        created = self.create.apply(connection, now_ms)
        self._store_slices(connection, chosen, now_ms)
        self._mark(connection, [row["letter_no"] for row in chosen])
        return Replayed(
            document=created.document,
            record=attrs.evolve(created.record, has_slices=True),
            letters=len(chosen),
            skipped=skipped,
        )

    def _choose(self, connection: Connection) -> tuple[list[RowMapping], dict[str, int]]:
        """Letters to replay, oldest first, without their records; and how many are not among them."""
        is_cut = dead_letters.c.truncated == 1
        is_over = dead_letters.c.replayed.is_not(None) if not self.again else dead_letters.c.replayed.in_(())
        counted = select_letters(
            self.whose, self.where, func.count(), _count_of(is_cut), _count_of(is_over & ~is_cut)
        )
        total, truncated, replayed = (number or 0 for number in connection.execute(counted).one())
        columns = (
            dead_letters.c.letter_no,
            dead_letters.c.position,
            dead_letters.c.operation,
            letter_size.label("size_b"),
            _is_no_record.label("is_unread"),
        )
        wanted = select_letters(self.whose, self.where, *columns).where(~is_cut, ~is_over)
        wanted = wanted.order_by(dead_letters.c.letter_no).limit(REPLAY_MAX)
        chosen: list[RowMapping] = []
        room_b = REPLAY_B_MAX
        for row in connection.execute(wanted).mappings().fetchall():
            room_b -= row["size_b"]
            if room_b < 0:
                break
            chosen.append(row)
        left = total - truncated - replayed - len(chosen)
        return chosen, {"truncated": truncated, "replayed": replayed, "left": left}

    def _store_slices(self, connection: Connection, chosen: list[RowMapping], now_ms: int) -> None:
        operations = self.create.document["operations"]
        keys = ("position", "operation", "is_unread")
        entries = {
            (position, operation, is_unread): entry_point(
                operations, position, operation, is_unread=bool(is_unread)
            )
            for position, operation, is_unread in {tuple(row[key] for key in keys) for row in chosen}
        }
        places: dict[int, list[RowMapping]] = {}
        for row in chosen:
            places.setdefault(entries[tuple(row[key] for key in keys)], []).append(row)
        ex_no = execution_number(connection, self.ex_id)
        groups = ((place, group) for place, rows in sorted(places.items()) for group in _groups(rows))
        for order, (place, group) in enumerate(groups, start=1):
            connection.execute(
                insert(slices).values(
                    ex_no=ex_no,
                    slicer_id=0,
                    slicer_order=order,
                    state=SliceState.PENDING.value,
                    created=now_ms,
                    updated=now_ms,
                    request=_request(connection, place, group),
                    retry_count=0,
                )
            )

    def _mark(self, connection: Connection, numbers: list[int]) -> None:
        for start in range(0, len(numbers), _PARAMETERS_MAX):
            part = dead_letters.c.letter_no.in_(numbers[start : start + _PARAMETERS_MAX])
            connection.execute(update(dead_letters).where(part).values(replayed=self.ex_id))


def _count_of(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """How many rows it holds for."""
    return func.sum(case((condition, 1), else_=0))


def _groups(rows: list[RowMapping]) -> Iterator[list[int]]:
    """Numbers of letters that make up one slice each."""
    group: list[int] = []
    size_b = 0
    for row in rows:
        if group and (len(group) == SLICE_MAX or size_b + row["size_b"] > SLICE_B_MAX):
            yield group
            group, size_b = [], 0
        group.append(row["letter_no"])
        size_b += row["size_b"]
    yield group


def _request(connection: Connection, place: int, numbers: list[int]) -> str:
    """What `dead_letter_reader` reads. Records are JSON already and stay as they are."""
    found = select(*_COLUMNS).where(dead_letters.c.letter_no.in_(numbers)).order_by(dead_letters.c.letter_no)
    letters = ",".join(
        f'{{"record":{record},"form":"{form}","metadata":{metadata}'
        + (f',"raw":"{raw}"' if raw else "")
        + "}"
        for record, form, raw, metadata in connection.execute(found).fetchall()
    )
    return f'{{"position":{place},"letters":[{letters}]}}'
