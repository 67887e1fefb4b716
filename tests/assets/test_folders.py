"""Unpacked bundles: whole or not there, and unpacked once."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundles import bundle, id_of, zip_of
from tests.support.daemons import until
from tsd.assets.archive import Limits
from tsd.assets.folders import AssetFolders
from tsd.errors import AssetError, AssetInvalid

LIMITS = Limits(unpacked_b=500_000_000)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folders(tmp_path):
    return AssetFolders(tmp_path / "assets")


def stored(tmp_path, data):
    """The zip in a file; its id and path."""
    path = tmp_path / f"{id_of(data)}.zip"
    path.write_bytes(data)
    return id_of(data), path


def seen(folders):
    return sorted(path.name for path in folders.root.iterdir() if path.name != ".locks")


def test_a_bundle_is_unpacked_under_its_id(folders, tmp_path):
    asset_id, path = stored(tmp_path, bundle(files={"ops/__init__.py": "x = 1"}))

    assert not folders.has(asset_id)
    folder = folders.fill(asset_id, path, LIMITS)

    assert folders.has(asset_id)
    assert (folder / "ops/__init__.py").read_text() == "x = 1"
    assert seen(folders) == [asset_id]


def test_what_is_there_is_not_unpacked_again(folders, tmp_path):
    """Point 27 of bundles."""
    asset_id, path = stored(tmp_path, bundle())
    folders.fill(asset_id, path, LIMITS)
    path.unlink()

    assert folders.fill(asset_id, path, LIMITS) == folders.path(asset_id)


def test_a_zip_with_other_content_is_not_unpacked(folders, tmp_path):
    asset_id, path = stored(tmp_path, bundle())
    path.write_bytes(bundle("other"))

    with pytest.raises(AssetError, match=f"the zip of asset {asset_id} is damaged"):
        folders.fill(asset_id, path, LIMITS)
    assert seen(folders) == []


def test_a_zip_that_can_not_be_unpacked_leaves_nothing(folders, tmp_path):
    asset_id, path = stored(tmp_path, zip_of({"asset.json": "{}", "../evil": "x"}))

    with pytest.raises(AssetInvalid):
        folders.fill(asset_id, path, LIMITS)
    assert seen(folders) == []


def test_what_is_no_id_names_no_folder(folders):
    with pytest.raises(AssetError):
        folders.has("../../etc")


def test_a_bundle_is_taken_away_whole(folders, tmp_path):
    asset_id, path = stored(tmp_path, bundle())
    folders.fill(asset_id, path, LIMITS)
    folders.remove(asset_id)
    folders.remove(asset_id)

    assert seen(folders) == []


def _fill(folders, asset_id, path, barrier, results):
    barrier.wait()
    results.put(os.stat(folders.fill(asset_id, path, LIMITS)).st_ino)


def test_two_processes_that_want_a_bundle_unpack_it_once(folders, tmp_path):
    """Point 29 of bundles."""
    asset_id, path = stored(tmp_path, bundle(files={f"f{i}": os.urandom(2000) for i in range(100)}))
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(3), context.Queue()
    children = [
        context.Process(target=_fill, args=(folders, asset_id, path, barrier, results)) for _ in range(3)
    ]
    for child in children:
        child.start()
    found = {results.get(timeout=60) for _ in children}
    for child in children:
        child.join()

    assert len(found) == 1


def test_a_process_that_dies_while_it_unpacks_leaves_nothing_that_is_used(folders, tmp_path):
    """Point 28 of bundles."""
    asset_id, path = stored(tmp_path, bundle(files={f"f{i}": b"x" for i in range(5000)}))
    script = (
        "import sys, pathlib\n"
        "from tsd.assets.archive import Limits\n"
        "from tsd.assets.folders import AssetFolders\n"
        "root, asset_id, path = sys.argv[1:]\n"
        "AssetFolders(pathlib.Path(root)).fill(asset_id, pathlib.Path(path), Limits(unpacked_b=10**9))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(folders.root), asset_id, str(path)], cwd=ROOT)
    partial = folders.root / f".{asset_id}.partial"
    until(lambda: partial.is_dir() and any(partial.iterdir()), "it unpacks")
    child.send_signal(signal.SIGKILL)
    child.wait()

    assert not folders.has(asset_id)
    folder = folders.fill(asset_id, path, LIMITS)
    assert len(list(folder.iterdir())) == 5001
    assert seen(folders) == [asset_id]


def test_an_unpacked_bundle_says_what_it_is(folders, tmp_path):
    asset_id, path = stored(
        tmp_path, bundle("ex", "v2.0.0", files={"b/__init__.py": "", "a/__init__.py": ""})
    )
    folders.fill(asset_id, path, LIMITS)
    found = folders.read(asset_id)

    assert (found.asset_id, found.name, found.version) == (asset_id, "ex", "2.0.0")
    assert found.modules == ("a", "b")


@pytest.mark.parametrize(
    ("manifest", "files", "modules"),
    [
        ({}, ["ops/__init__.py", "other/__init__.py"], ("ops",)),
        ({}, ["ops.py", "other/__init__.py"], ("ops",)),
        (
            {"module": "other.deep"},
            ["ops/__init__.py", "other/__init__.py", "other/deep.py"],
            ("other.deep",),
        ),
        ({"module": ["b", "a"]}, ["a.py", "b.py"], ("b", "a")),
        ({}, ["_private/__init__.py", "my-data/__init__.py", "static/a.txt"], ()),
    ],
)
def test_operations_are_looked_for_where_the_manifest_says_or_where_they_usually_are(
    folders, tmp_path, manifest, files, modules
):
    asset_id, path = stored(tmp_path, bundle(files=dict.fromkeys(files, ""), **manifest))
    folders.fill(asset_id, path, LIMITS)

    assert folders.read(asset_id).modules == modules


def test_a_bundle_that_is_not_there_can_not_be_read(folders):
    with pytest.raises(AssetError, match="is not unpacked here"):
        folders.read("a" * 40)


def test_what_nobody_has_used_for_long_is_taken_away(folders, tmp_path):
    ids = []
    for name in ("old", "used", "new"):
        asset_id, path = stored(tmp_path, bundle(name))
        folder = folders.fill(asset_id, path, LIMITS)
        os.utime(folder, (1000, 1000))
        ids.append(asset_id)
    old, used, new = ids
    folders.use(used).end()
    os.utime(folders.root / f".locks/{used}.used", (5000, 5000))
    os.utime(folders.path(new), (9000, 9000))

    assert folders.remove_unused(4000, now=8999) == [old]
    assert folders.remove_unused(4000, now=9000) == [used]
    assert folders.remove_unused(4000, now=12_999) == []
    assert seen(folders) == [new]


def test_what_is_in_use_stays_however_long(folders, tmp_path):
    asset_id, path = stored(tmp_path, bundle())
    folders.fill(asset_id, path, LIMITS)
    first, second = folders.use(asset_id), folders.use(asset_id)

    def sweep():
        return folders.remove_unused(10, now=os.stat(folders.root / f".locks/{asset_id}.used").st_mtime + 100)

    first.end()
    assert sweep() == []
    assert folders.remove(asset_id) is False
    second.end()
    second.end()
    assert sweep() == [asset_id]
    assert folders.remove_unused(0, now=1e12) == []


def test_a_use_of_another_process_counts_and_ends_with_it(folders, tmp_path):
    asset_id, path = stored(tmp_path, bundle())
    folders.fill(asset_id, path, LIMITS)
    script = (
        "import sys, pathlib\n"
        "from tsd.assets.folders import AssetFolders\n"
        "use = AssetFolders(pathlib.Path(sys.argv[1])).use(sys.argv[2])\n"
        "print('used', flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(folders.root), asset_id],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout.readline() == b"used\n"
    assert folders.remove(asset_id) is False
    child.kill()
    child.communicate()

    assert folders.remove(asset_id) is True
    assert seen(folders) == []


def test_nothing_is_swept_where_nothing_was_unpacked(folders):
    assert folders.remove_unused(0, now=1e12) == []
