"""Opening: one master a folder, clear words when it can not be, one schema whichever way it was made."""

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio

from tests.support.stores import POSTED, open_to_others, unprivileged
from tsd.errors import SchemaTooNew, StoreCorrupt, StoreError, StoreLocked, StoreUnusable, exit_code_of
from tsd.store import sqlite
from tsd.store.migrate import SCRIPTS, bring_up_to_date, upgrade
from tsd.store.schema import HEAD
from tsd.store.store import DATABASE_NAME, open_store

ROOT = Path(__file__).parents[2]


async def open_once(data_dir):
    async with open_store(data_dir):
        pass


async def test_a_second_master_is_told_who_holds_the_folder(tmp_path):
    async with open_store(tmp_path):
        with pytest.raises(StoreLocked, match=rf"{tmp_path}/master\.lock .*pid {os.getpid()} "):
            await open_once(tmp_path)

    await open_once(tmp_path)


async def test_another_process_is_kept_out_too(tmp_path):
    script = (
        "import sys, pathlib\n"
        "from tsd.store.datalock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): pass\n"
    )
    async with open_store(tmp_path):
        found = await trio.run_process(
            [sys.executable, "-c", script, str(tmp_path)], check=False, capture_stderr=True, cwd=ROOT
        )

    assert b"StoreLocked" in found.stderr


async def test_what_is_made_is_for_nobody_else(tmp_path):
    async with open_store(tmp_path / "a" / "data"):
        mode = (tmp_path / "a" / "data").stat().st_mode
        lock_mode = (tmp_path / "a" / "data" / "master.lock").stat().st_mode

    assert stat.S_IMODE(mode) == 0o700
    assert stat.S_IMODE(lock_mode) == 0o600


async def test_a_folder_without_permission_is_named(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    os.chmod(tmp_path, 0o755)

    with unprivileged(), pytest.raises(StoreError, match=f"{closed}.*Permission denied"):
        await open_once(closed / "data")
    with unprivileged(), pytest.raises(StoreError, match="Permission denied"):
        await open_once(closed)


async def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "data").write_text("")

    with pytest.raises(StoreError, match=rf"data folder {tmp_path}/data can not be used"):
        await open_once(tmp_path / "data")


async def test_a_database_that_can_not_be_written_to_does_not_open(tmp_path):
    await open_once(tmp_path)
    if os.geteuid() != 0:
        pytest.skip("changing the owner needs root")
    open_to_others(tmp_path)
    (tmp_path / "master.lock").chmod(0o666)
    (tmp_path / DATABASE_NAME).chmod(0o444)

    with unprivileged(), pytest.raises(StoreUnusable, match=DATABASE_NAME):
        await open_once(tmp_path)


async def test_a_folder_that_can_not_be_written_to_is_named_though_its_files_can(tmp_path):
    await open_once(tmp_path)
    if os.geteuid() != 0:
        pytest.skip("changing the owner needs root")
    open_to_others(tmp_path)
    for name in ("master.lock", DATABASE_NAME):
        (tmp_path / name).chmod(0o666)

    with (
        unprivileged(),
        pytest.raises(StoreUnusable, match=rf"cannot be written to \({tmp_path}\)") as caught,
    ):
        await open_once(tmp_path)

    assert exit_code_of(caught.value) == 77


async def test_a_file_that_is_no_database_is_said_to_be_damaged(tmp_path):
    (tmp_path / DATABASE_NAME).write_bytes(b"no database at all" * 1000)

    with pytest.raises(StoreCorrupt, match="not a database"):
        await open_once(tmp_path)


async def test_a_cut_off_file_is_said_to_be_damaged(tmp_path):
    async with open_store(tmp_path) as store:
        await store.create_job("j1", POSTED)
    path = tmp_path / DATABASE_NAME
    os.truncate(path, 8192 * 2)

    with pytest.raises(StoreCorrupt):
        async with open_store(tmp_path) as store:
            await store.create_job("j2", POSTED)


async def test_a_database_of_something_else_is_left_alone(tmp_path):
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as other:
        other.execute("CREATE TABLE recipes (name)")

    with pytest.raises(StoreCorrupt, match="recipes"):
        await open_once(tmp_path)


async def test_a_store_of_a_newer_tsd_is_left_alone(tmp_path):
    await open_once(tmp_path)
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
        other.commit()
    before = (tmp_path / DATABASE_NAME).read_bytes()

    with pytest.raises(SchemaTooNew, match=f"schema 9999, this tsd knows schemas up to {HEAD}"):
        await open_once(tmp_path)
    assert (tmp_path / DATABASE_NAME).read_bytes() == before


def schema_of(path):
    """Everything that was created, without layout."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    return {
        (kind, name): " ".join((sql or "").split()).replace("( ", "(")
        for kind, name, sql in rows
        if name != "sqlite_stat1"
    }


def test_a_fresh_schema_is_all_migrations_applied(tmp_path):
    fresh, migrated = tmp_path / "fresh.db", tmp_path / "migrated.db"
    for path, make in ((fresh, bring_up_to_date), (migrated, upgrade)):
        engine = sqlite.writing_engine(path)
        make(engine)
        engine.dispose()

    assert schema_of(fresh) == schema_of(migrated)
    with closing(sqlite3.connect(migrated)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]


def test_the_schema_has_the_version_of_the_last_migration():
    assert max(path.name for path in (SCRIPTS / "versions").glob("*.py")).startswith(f"{HEAD}_")


def test_a_failed_migration_leaves_the_database_as_it_was(tmp_path):
    path = tmp_path / "half.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE slices (no)")
    engine = sqlite.writing_engine(path)

    with pytest.raises(Exception, match="slices already exists"):
        upgrade(engine)

    engine.dispose()
    assert list(schema_of(path)) == [("table", "slices")]


async def test_neither_importing_nor_making_a_store_needs_alembic(tmp_path):
    script = (
        "import sys, trio, pathlib\n"
        "from tsd.store.store import open_store\n"
        "async def main():\n"
        "    async with open_store(pathlib.Path(sys.argv[1])): pass\n"
        "trio.run(main)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'alembic', 'mako', 'psycopg'}))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )

    assert (found.stdout, found.returncode) == ("[]\n", 0), found.stderr
