"""Reads: short, of one moment each, in a few threads beside the writer."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import attrs
import trio
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from tsd.errors import StoreError
from tsd.store import sqlite

R = TypeVar("R")

CONNECTION_COUNT: Final = 4
"""Reads at the same time; more wait. They share few processors with everything else in the process."""


@attrs.define(eq=False)
class Reader:
    """Owns the reading connections."""

    _engine: Engine
    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(CONNECTION_COUNT))

    @classmethod
    def of(cls, path: Path) -> "Reader":
        """A reader of a database that is there already."""
        return cls(sqlite.reading_engine(path, size=CONNECTION_COUNT))

    async def read(self, function: Callable[[Connection], R]) -> R:
        """Run a function in a thread, inside of a transaction that sees one moment of the store.

        A cancelled read still runs to its end first; functions are therefore short.

        Raises:
            StoreError: What is stored can not be read, or a value does not fit into any column; and
                whatever the function raises.
        """
        return await trio.to_thread.run_sync(self._read, function, limiter=self._limiter)

    def _read(self, function: Callable[[Connection], R]) -> R:
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql(sqlite.BEGIN_READING)
                try:
                    return function(connection)
                finally:
                    sqlite.roll_back(connection)
        except DBAPIError as error:
            raise sqlite.error_of(error) from error
        except (OverflowError, UnicodeError) as error:
            raise StoreError(f"a value can not be looked for: {error}") from error

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
