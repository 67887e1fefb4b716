"""Zips that are bundles, and zips that are not: point 35 of bundles."""

import io
import struct
import zipfile

import pytest

from tests.support.bundles import bundle, zip_of
from tsd.assets import archive, zips
from tsd.assets.archive import Limits, check, unpack
from tsd.errors import AssetInvalid

LIMITS = Limits(unpacked_b=10_000_000)
MANIFEST = '{"name": "ex", "version": "1.0.0"}'


def checked(tmp_path, data, limits=LIMITS):
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    return check(path, limits)


def entry(name, *, mode=0, content=b"x"):
    """A bundle with one unusual entry."""
    buffer = io.BytesIO(bundle())
    with zipfile.ZipFile(buffer, "a") as opened:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        info.external_attr = mode << 16
        opened.writestr(info, content)
    return buffer.getvalue()


def test_a_good_bundle_is_read(tmp_path):
    found = checked(tmp_path, bundle(files={"ops/__init__.py": "x = 1", "static/a.bin": bytes(5000)}))

    assert (found.manifest.name, found.manifest.version) == ("ex", "1.0.0")
    assert found.files == ("asset.json", "ops/__init__.py", "static/a.bin")


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"no zip at all", b"PK\3\4" + b"x" * 100, b"PK\5\6" + bytes(18)]
)
def test_what_is_no_zip_is_refused(tmp_path, data):
    """Point 94."""
    with pytest.raises(AssetInvalid, match=r"Failed to save asset\. File type not recognized as zip\."):
        checked(tmp_path, data)


@pytest.mark.parametrize("files", [{"readme": "x"}, {"ex/asset.json": MANIFEST}, {"ASSET.JSON": MANIFEST}])
def test_the_manifest_is_at_the_top(tmp_path, files):
    """Point 95."""
    with pytest.raises(AssetInvalid, match=r"asset\.json was not found in root directory of asset bundle"):
        checked(tmp_path, zip_of(files))


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/etc/evil",
        "a//b",
        "./a",
        "C:/evil",
        "a\\..\\evil",
        "a\x01b",
        "x" * 300,
        "/".join("x" * 40),
        "/".join(["x" * 200] * 6),
    ],
)
def test_paths_that_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(AssetInvalid, match="can not be unpacked"):
        checked(tmp_path, entry(name))


def test_a_name_behind_a_nul_is_not_overlooked(tmp_path):
    data = entry("evil.py").replace(b"evil.py", b"ops\0.py")

    with pytest.raises(AssetInvalid, match="letters that no path"):
        checked(tmp_path, data)


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o060666, 0o010666, 0o140777])
def test_links_and_devices_are_refused(tmp_path, mode):
    with pytest.raises(AssetInvalid, match="link or a device"):
        checked(tmp_path, entry("link", mode=mode, content=b"/etc/passwd"))


@pytest.mark.parametrize(
    "names",
    [("a/B.py", "a/b.py"), ("straße", "STRASSE"), ("é", "e\u0301"), ("a", "a/b"), ("a/b", "a"), ("A/x", "a")],
)
def test_names_that_some_disks_take_for_the_same_are_refused(tmp_path, names):
    with pytest.raises(AssetInvalid, match="twice, or as a file and as a folder"):
        checked(tmp_path, bundle(files=dict.fromkeys(names, "x")))


def test_folders_may_be_named_too(tmp_path):
    found = checked(tmp_path, bundle(files={"ops/": "", "ops/a.py": "", "empty/": ""}))

    assert found.files == ("asset.json", "ops/a.py")


def test_encrypted_entries_are_refused(tmp_path):
    data = bytearray(bundle())
    start = data.index(b"PK\1\2")
    data[start + 8] |= 1

    with pytest.raises(AssetInvalid, match="encrypted"):
        checked(tmp_path, bytes(data))


def test_compression_that_takes_any_memory_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as opened:
        opened.writestr("asset.json", MANIFEST)

    with pytest.raises(AssetInvalid, match="compressed in a way"):
        checked(tmp_path, buffer.getvalue())


def test_too_many_entries_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "ENTRIES_MAX", 10)

    with pytest.raises(AssetInvalid, match="more than 10 entries"):
        checked(tmp_path, bundle(files={f"f{i}": "" for i in range(10)}))


def test_a_list_of_entries_of_any_size_is_not_read(tmp_path):
    """Made of nothing but its list, a zip has a hundred times as much in memory."""
    data = bundle(files={"x" * 200 + str(i): "" for i in range(20_000)})

    with pytest.raises(AssetInvalid, match="entries"):
        checked(tmp_path, data)


def test_a_bomb_is_stopped_while_it_unpacks(tmp_path):
    """Its list claims one byte an entry."""
    data = bytearray(bundle(files={"bomb": bytes(40_000_000)}))
    size = data.rindex(b"bomb") - 46 + 24
    data[size : size + 4] = struct.pack("<I", 1)

    with pytest.raises(AssetInvalid, match=r"unpacks to more than 10000000 bytes|can not be unpacked"):
        checked(tmp_path, bytes(data))


def test_more_than_the_limit_is_refused(tmp_path):
    with pytest.raises(AssetInvalid, match="unpacks to more than 10000000 bytes"):
        checked(tmp_path, bundle(files={"a": bytes(6_000_000), "b": bytes(6_000_000)}))


def test_a_small_zip_may_not_unpack_to_a_hundred_times_its_size(tmp_path):
    with pytest.raises(AssetInvalid, match=f"unpacks to more than {archive.RATIO_FREE_B} bytes"):
        checked(tmp_path, bundle(files={"a": bytes(20_000_000)}), Limits(unpacked_b=1_000_000_000))


def test_a_damaged_entry_is_named(tmp_path):
    data = zip_of({"asset.json": MANIFEST})
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("asset.json", MANIFEST)
        opened.writestr("note", "hello")
    damaged = stored.getvalue().replace(b"hello", b"hullo")

    assert checked(tmp_path, data)
    with pytest.raises(AssetInvalid, match="note can not be unpacked: Bad CRC"):
        checked(tmp_path, damaged)


@pytest.mark.parametrize("cut", [30, 60, 100])
def test_a_cut_off_zip_is_refused(tmp_path, cut):
    with pytest.raises(AssetInvalid):
        checked(tmp_path, bundle()[:-cut])


def test_files_are_unpacked_as_they_are(tmp_path):
    path, folder = tmp_path / "x.zip", tmp_path / "there"
    path.write_bytes(bundle(files={"a/b/c.txt": "deep", "big": bytes(300_000)}))
    folder.mkdir()

    unpack(path, folder, LIMITS)

    assert (folder / "a/b/c.txt").read_text() == "deep"
    assert (folder / "big").read_bytes() == bytes(300_000)
    assert (folder / "asset.json").exists()


def test_unpacking_trusts_no_earlier_check(tmp_path):
    path, folder = tmp_path / "x.zip", tmp_path / "there"
    path.write_bytes(entry("../evil"))
    folder.mkdir()

    with pytest.raises(AssetInvalid):
        unpack(path, folder, LIMITS)

    assert not (tmp_path / "evil").exists()
    assert list(folder.iterdir()) == []
