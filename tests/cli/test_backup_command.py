"""`tsd backup`: what it makes is a data folder that a master starts on."""

import sqlite3
import subprocess
import sys
from contextlib import closing

from tests.support.stores import POSTED
from tsd.store.listing import Page
from tsd.store.store import DATABASE_NAME, open_store


def run(data_dir, target):
    command = [sys.executable, "-m", "tsd.cli.main", "backup", str(target), "--data-dir", str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


async def test_a_backup_of_a_store_in_use_has_all_that_was_stored_before(tmp_path):
    data, target = tmp_path / "data", tmp_path / "new" / "backup"
    (data / "bundles").mkdir(parents=True)
    (data / "bundles" / "abc.zip").write_bytes(b"a bundle")
    async with open_store(data) as store:
        for number in range(50):
            await store.create_job(f"job-{number}", POSTED)
        done = run(data, target)
        await store.create_job("later", POSTED)

    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in target.iterdir()) == ["bundles", DATABASE_NAME]
    assert (target / "bundles" / "abc.zip").read_bytes() == b"a bundle"
    async with open_store(target) as store:
        stored = {job["job_id"] for job in await store.list_jobs(Page(size=100))}

    assert stored == {f"job-{number}" for number in range(50)}


async def test_a_backup_leaves_a_store_that_is_not_in_use_as_it_was(tmp_path):
    data = tmp_path / "data"
    async with open_store(data) as store:
        await store.create_job("job", POSTED)
    before = {path.name for path in data.iterdir()}

    assert run(data, tmp_path / "backup").returncode == 0
    assert {path.name for path in data.iterdir()} == before


def test_a_backup_is_never_written_over(tmp_path):
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "precious").touch()
    done = run(tmp_path, tmp_path / "backup")

    assert done.returncode == 1
    assert "backup is there already: name a new folder" in done.stderr
    assert (tmp_path / "backup" / "precious").exists()


def test_without_a_store_nothing_is_made(tmp_path):
    done = run(tmp_path, tmp_path / "backup")

    assert done.returncode == 1
    assert f"there is no store {tmp_path / DATABASE_NAME}" in done.stderr
    assert not (tmp_path / "backup").exists()


async def test_a_damaged_store_is_told_and_gives_no_backup(tmp_path):
    data = tmp_path / "data"
    async with open_store(data):
        pass
    with closing(sqlite3.connect(data / DATABASE_NAME)) as store:
        (size,) = store.execute("PRAGMA page_size").fetchone()
    with (data / DATABASE_NAME).open("r+b") as file:
        file.seek(size)
        file.write(b"\xff" * size * 4)
    done = run(data, tmp_path / "backup")

    assert done.returncode == 1
    assert str(data / DATABASE_NAME) in done.stderr
    assert not (tmp_path / "backup").exists()
