"""Several writes in one transaction, each whole or absent."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from tsd.errors import StoreError, TsdError
from tsd.store import sqlite
from tsd.store.schema import version

R_co = TypeVar("R_co", covariant=True)


class Write(Protocol[R_co]):
    """A write. Requests are plain values; the writer's thread runs `apply`."""

    @property
    def is_held(self) -> bool:
        """Whether it waits through an outage; otherwise its caller gets a `StoreError` at once."""
        ...

    def apply(self, connection: Connection, now_ms: int) -> R_co:
        """Do it, inside of a transaction that others may share.

        Args:
            connection: In a transaction. What was written is undone when this raises.
            now_ms: The time of the transaction, Unix milliseconds.

        Raises:
            TsdError: It does not fit what is stored; only its own caller hears of it.
        """
        ...


Outcome = tuple[object, TsdError | None]
"""What a write returned, or why it was refused."""


def transact(
    connection: Connection, requests: Sequence[Write[Any]], *, now_ms: int, is_probe: bool
) -> list[Outcome]:
    """Do all requests and commit. Blocks.

    Args:
        connection: The writing one, in no transaction.
        requests: In order; each sees what those before it did.
        now_ms: Unix milliseconds.
        is_probe: Write something in any case, to find out whether that is possible again.

    Returns:
        The outcome of each request; all is durable.

    Raises:
        StoreError: Nothing of it was written.
    """
    try:
        connection.exec_driver_sql(sqlite.BEGIN_WRITING)
        if is_probe:
            connection.execute(version.update().values(version_num=version.c.version_num))
        outcomes = [_apply(connection, request, now_ms) for request in requests]
        connection.exec_driver_sql("COMMIT")
    except DBAPIError as error:
        raise sqlite.error_of(error) from error
    finally:
        sqlite.roll_back(connection)
    return outcomes


def _apply(connection: Connection, request: Write[Any], now_ms: int) -> Outcome:
    """One request. What goes wrong with it alone is undone and returned, the rest is raised."""
    connection.exec_driver_sql("SAVEPOINT request")
    result, refusal = None, None
    try:
        result = request.apply(connection, now_ms)
    except TsdError as error:
        refusal = error
    except DBAPIError as error:
        if not isinstance(meaning := sqlite.error_of(error), sqlite.Refused):
            raise
        refusal = meaning
    except (OverflowError, RecursionError, UnicodeError) as error:
        refusal = StoreError(f"a value can not be stored: {error}")
    if refusal is not None:
        connection.exec_driver_sql("ROLLBACK TO request")
    connection.exec_driver_sql("RELEASE request")
    return result, refusal
