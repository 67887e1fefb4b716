"""What is particular to SQLite: connections, transactions, errors, JSON.

Everything else in `tsd.store` is SQLAlchemy Core that other databases understand too.

* Write-ahead log, each commit synced. One connection writes, and it alone moves the log into the database:
  SQLite before 3.51.3 can lose commits when several do.
* Transactions are begun and ended by hand, because the driver's own idea of when one begins is not ours.
"""

import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    FunctionElement,
    QueuePool,
    Select,
    StaticPool,
    UnaryExpression,
    column,
    create_engine,
    exists,
    func,
    literal_column,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.operators import custom_op

from tsd.errors import StoreCorrupt, StoreError
from tsd.store.lucene import Pattern, Wildcard
from tsd.store.words import encode_words

BUSY_TIMEOUT_S: Final = 0.5
"""How long a statement waits for a lock of somebody else, who should have none, before it fails."""
PAGE_B: Final = 8192
"""Larger than the default: a slice record with its request stays on one page."""
CHECKPOINT_PAGES: Final = 2000
"""The log is moved into the database when it has so many pages (16 MiB), and when nothing is written."""
CACHE_KIB: Final = 8 * 1024
"""Memory for pages of the writing connection: fresh slices and the indexes over unfinished ones."""

STEPS_BETWEEN_LOOKS: Final = 200_000
"""Steps of SQLite, some milliseconds of them, between two looks at the clock, which need the interpreter."""

BEGIN_WRITING: Final = "BEGIN IMMEDIATE"
"""Takes the lock at once: a transaction that reads first and then wants it fails without waiting."""
BEGIN_READING: Final = "BEGIN"
"""All that is read in it is of one moment."""

PLACEHOLDER: Final = "?"
"""Of a value in a statement that goes to the driver as it is."""

_INDEX_ROWS: Final = {
    "slices": "10000000 100000 50000 1",
    "slices_unfinished": "1000 100 50 1 1",
    "slices_errors": "1000000 1000000 1",
    "slices_errors_updated": "1000000 100 1",
    "slices_errors_slicer_order": "1000000 100 1",
}
"""For each index of slices: rows, then rows that have the same first column, first two columns and so on."""

_OUTAGES: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOMEM,
    }
)
_CORRUPTIONS: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_WORDS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk fails",
    sqlite3.SQLITE_BUSY: "another process holds a lock on the store",
    sqlite3.SQLITE_LOCKED: "another process holds a lock on the store",
    sqlite3.SQLITE_CANTOPEN: "the file can not be opened",
    sqlite3.SQLITE_READONLY: "the store can not be written to",
    sqlite3.SQLITE_PERM: "the store can not be written to",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is not a database",
}


class Outage(StoreError):
    """The disk or a lock stands in the way: nothing was written, and the same may work later."""


class Refused(StoreError):
    """The database does not take this value; it never will."""


class TooSlow(StoreError):
    """A statement took longer than it was given."""


def writing_engine(path: Path) -> Engine:
    """An engine with the one connection that writes; the file is made when it is missing.

    Raises:
        sqlite3.Error: The file can not be opened; `error_of` tells what it means.
    """
    connection = _connect(path.as_uri() + "?mode=rwc")
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_B}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        # What a savepoint keeps to undo a request goes to memory, not to a file that can fill the disk too.
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    except sqlite3.Error:
        connection.close()
        raise
    return _engine(poolclass=StaticPool, creator=lambda: connection)


def reading_engine(path: Path, *, size: int) -> Engine:
    """An engine with up to `size` connections that can only read; the file must be there."""

    def connect() -> sqlite3.Connection:
        connection = _connect(path.as_uri() + "?mode=ro")
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        return connection

    return _engine(poolclass=QueuePool, pool_size=size, max_overflow=0, creator=connect)


def _connect(uri: str) -> sqlite3.Connection:
    # Threads take turns, so the driver's check for one thread only is off; its own lock is on.
    return sqlite3.connect(
        uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )


def _engine(**pool: Any) -> Engine:
    return create_engine(
        "sqlite://",
        isolation_level="AUTOCOMMIT",
        pool_reset_on_return=None,
        skip_autocommit_rollback=True,
        **pool,
    )


def roll_back(connection: Connection) -> None:
    """End the transaction without a trace; SQLite may have done so already."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    if driver.in_transaction:
        # When even this fails the log has no commit of it, and the next BEGIN says what is wrong.
        with contextlib.suppress(sqlite3.Error):
            driver.execute("ROLLBACK")


def teach_planner(connection: Connection) -> None:
    """Tell SQLite how large the tables and indexes of slices become, if it was not told before.

    Without it SQLite takes ten slices for many, and reads all of an execution's where an index has the few
    that are asked for. To measure (`ANALYZE`) would take long, and be true only for the moment.
    """
    known = "SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_stat1'"
    if connection.exec_driver_sql(known).scalar_one():
        told = connection.exec_driver_sql("SELECT idx, stat FROM sqlite_stat1")
        if {row.idx: row.stat for row in told} == _INDEX_ROWS:
            return
    # Makes the table of statistics; what it finds out of this one row is deleted again.
    connection.exec_driver_sql("ANALYZE alembic_version")
    connection.exec_driver_sql("DELETE FROM sqlite_stat1")
    for index, rows in _INDEX_ROWS.items():
        connection.exec_driver_sql("INSERT INTO sqlite_stat1 VALUES ('slices', ?, ?)", (index, rows))
    connection.exec_driver_sql("ANALYZE sqlite_master")


@contextlib.contextmanager
def time_limit(connection: Connection, seconds: float) -> Iterator[None]:
    """Stop statements that still run after so long.

    Raises:
        TooSlow: One was stopped.
    """
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    end = time.monotonic() + seconds
    driver.set_progress_handler(lambda: time.monotonic() > end, STEPS_BETWEEN_LOOKS)
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            raise TooSlow(f"a statement took more than {seconds:g} s") from error
        raise
    finally:
        driver.set_progress_handler(None, 0)


def checkpoint(connection: Connection) -> None:
    """Move what readers no longer need from the log into the database, without waiting for anybody.

    A failure changes nothing: the log keeps what it has, and the next commit says what is wrong.
    """
    with contextlib.suppress(DBAPIError):
        connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def error_of(error: DBAPIError | sqlite3.Error) -> StoreError:
    """What an error of the driver means.

    Returns:
        `Outage` when the same may work later, `StoreCorrupt` when what is stored can not be read, else
        `Refused`.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    name = getattr(cause, "sqlite_errorname", type(cause).__name__)
    primary = code & 0xFF
    text = f"{_WORDS.get(primary, 'the database refused')} ({name}: {cause})"
    if primary in _CORRUPTIONS:
        return StoreCorrupt(text)
    return Outage(text) if primary in _OUTAGES else Refused(text)


def is_duplicate(error: DBAPIError) -> bool:
    """Whether a unique index refused a row."""
    code = getattr(error.orig, "sqlite_errorcode", 0)
    return code in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)


def json_field(document: Column[str], name: str) -> ColumnElement[Any]:
    """A top-level value inside of a JSON document; null when it has none.

    The name is written into the statement, not bound: indexes over such values have it in them too.
    """
    return func.json_extract(document, _path(name))


def json_number(document: Column[str], name: str) -> ColumnElement[Any]:
    """A top-level number inside of a JSON document, which may be there as text; null when it has none."""
    return json_field(document, name) + literal_column("0")


def json_has(
    document: Column[str], name: str, condition: Callable[[ColumnElement[Any]], ColumnElement[bool]]
) -> ColumnElement[bool]:
    """Whether a condition holds for any element of an array in a JSON document."""
    return _any_element(func.json_each(document, _path(name)), condition)


def list_has(
    array: Column[str], condition: Callable[[ColumnElement[Any]], ColumnElement[bool]]
) -> ColumnElement[bool]:
    """Whether a condition holds for any element of a JSON array."""
    return _any_element(func.json_each(array), condition)


def has_words(array: Column[str], words: Sequence[str]) -> ColumnElement[bool]:
    """Whether words stand one behind the other in a JSON array of words."""
    # Between quotes, which no word has, so that only whole words are found.
    return func.instr(array, encode_words(words)[1:-1]) > literal_column("0")


def matches(value: ColumnElement[Any], pattern: Pattern) -> ColumnElement[bool]:
    """Whether a whole text is like a pattern, upper and lower case told apart.

    SQLite gives a match up as soon as what follows its last `*` can not be found, so this takes time in
    proportion to the lengths of text and pattern, and never more than that for each wildcard.
    """
    glob = "".join(
        piece.value if isinstance(piece, Wildcard) else re.sub(r"[*?\[]", r"[\g<0>]", piece)
        for piece in pattern
    )
    return value.op("GLOB", is_comparison=True)(glob)


def unindexed(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """The same value, but not found by an index."""
    return UnaryExpression(value, operator=custom_op("+"), type_=value.type)


def _any_element(
    each: FunctionElement[Any], condition: Callable[[ColumnElement[Any]], ColumnElement[bool]]
) -> ColumnElement[bool]:
    elements = each.table_valued(column("value"))
    return exists(select(literal_column("1")).select_from(elements).where(condition(elements.c.value)))


def _path(name: str) -> ColumnElement[str]:
    assert re.fullmatch(r"\w+", name)
    return literal_column(f"""'$."{name}"'""")


def like(column: Column[str], pattern: str) -> ColumnElement[bool]:
    """Whether a text matches a pattern in which `*` stands for anything; the case counts."""
    # GLOB, because LIKE takes upper and lower case for the same.
    escaped = "".join(f"[{letter}]" if letter in "[?" else letter for letter in pattern)
    return column.op("GLOB", is_comparison=True)(escaped)


def listed_numbers(numbers: Sequence[int]) -> Select[tuple[int]]:
    """Many numbers as one parameter, for a condition with `in_`: the statement is the same for any count."""
    rows = func.json_each(json.dumps(numbers)).table_valued("value")
    return select(rows.c.value)


def fetch_packed(
    connection: Connection, statement: Select[Any], columns: Sequence[str]
) -> list[tuple[Any, ...]]:
    """All rows of a statement, fetched as one value, in no particular order.

    The driver gives up the interpreter for each row it steps to, and in a busy process gets it back
    milliseconds later. A page of thousands of rows is therefore packed by the database.
    """
    rows = statement.subquery()
    packed = select(func.json_group_array(func.json_array(*(rows.c[name] for name in columns))))
    text = connection.execute(packed).scalar_one()
    return msgspec.json.decode(text, type=list[tuple[Any, ...]])
