"""A copy of the store as it was at one moment, also while a master works with it."""

import contextlib
import sqlite3
from pathlib import Path

from tsd.errors import StoreCorrupt, StoreError
from tsd.store.store import DATABASE_NAME

_PAGES_AT_ONCE = 1000
"""Between two such steps the master may write; when it has, SQLite brings the copy up to date by itself."""


def copy_store(data_dir: Path, target: Path) -> None:
    """Copy the store of a data folder to the file `target`, which must not be there.

    The copy is one file, complete and of one moment: nothing beside it belongs to it.

    Raises:
        StoreError: There is no store, it can not be read, or the copy can not be written.
        StoreCorrupt: The copy was made and is not sound, because the store is not.
    """
    source = data_dir / DATABASE_NAME
    if not source.is_file():
        raise StoreError(f"there is no store {source}: name the data folder of the master")
    if target.exists():
        raise StoreError(f"{target} is there already")
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as store,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            store.backup(copy, pages=_PAGES_AT_ONCE)
            copy.execute("PRAGMA journal_mode = DELETE")  # no files beside it
            (found,) = copy.execute("PRAGMA quick_check").fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"{source} can not be copied to {target}: {error}") from error
    if found != "ok":
        raise StoreCorrupt(f"{source} is damaged: {found}")
