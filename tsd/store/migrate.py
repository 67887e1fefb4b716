"""Bringing a database to the present schema.

A new one is made from the tables, which is quick; Alembic is imported only when an old one has to be changed.
"""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, inspect, select
from sqlalchemy.exc import DBAPIError

from tsd.errors import SchemaTooNew, StoreCorrupt
from tsd.store import sqlite
from tsd.store.schema import HEAD, metadata, version

SCRIPTS: Final = Path(__file__).parent / "migrations"


def bring_up_to_date(engine: Engine) -> None:
    """Make the tables, change them from an older version, or find them as they should be. Blocks.

    Raises:
        SchemaTooNew: A newer tsd made them; nothing was changed.
        StoreCorrupt: These are not the tables of tsd, or can not be read.
        StoreError: The database can not be written to.
    """
    try:
        with engine.connect() as connection:
            stored = _find_or_create(connection)
        if stored < HEAD:
            upgrade(engine)
        if stored <= HEAD:
            with engine.connect() as connection:
                _teach(connection)
    except DBAPIError as error:
        raise sqlite.error_of(error) from error
    if stored > HEAD:
        raise SchemaTooNew(
            f"the store has schema {stored}, this tsd knows schemas up to {HEAD}: a newer tsd has written it"
        )


def _version_of(connection: Connection) -> str | None:
    """The version of the tables; None when there are none."""
    names = inspect(connection).get_table_names()
    if version.name not in names:
        if names:
            raise StoreCorrupt(f"the store has tables that are not those of tsd: {', '.join(sorted(names))}")
        return None
    stored = connection.execute(select(version.c.version_num)).scalars().all()
    if len(stored) != 1:
        raise StoreCorrupt(f"the store has {len(stored)} schema versions, not one")
    return str(stored[0])


def _find_or_create(connection: Connection) -> str:
    """The version of the tables, which are made when there are none."""
    try:
        # Writing is begun also when nothing is to be made: a store that can not be written to is no store.
        connection.exec_driver_sql(sqlite.BEGIN_WRITING)
        stored = _version_of(connection)
        if stored is None:
            stored = HEAD
            metadata.create_all(connection)
            connection.execute(version.insert().values(version_num=stored))
            connection.exec_driver_sql("COMMIT")
    finally:
        sqlite.roll_back(connection)
    return stored


def _teach(connection: Connection) -> None:
    try:
        connection.exec_driver_sql(sqlite.BEGIN_WRITING)
        sqlite.teach_planner(connection)
        connection.exec_driver_sql("COMMIT")
    finally:
        sqlite.roll_back(connection)


def upgrade(engine: Engine, *, to: str = HEAD) -> None:
    """Run the migrations from the version of the database (none when it is empty) to another one. Blocks."""
    from alembic import command  # noqa: PLC0415 - slow to import and hardly ever needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        try:
            connection.exec_driver_sql(sqlite.BEGIN_WRITING)
            command.upgrade(config, to)
            connection.exec_driver_sql("COMMIT")
        finally:
            sqlite.roll_back(connection)
