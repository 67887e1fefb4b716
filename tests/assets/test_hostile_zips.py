"""Zips that somebody has tampered with: point 35 of bundles. They are unpacked as they are, or refused."""

import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.bundles import bundle, id_of, zip_of
from tests.support.wheels import wheel
from tsd.assets.archive import Limits, check
from tsd.assets.folders import AssetFolders
from tsd.errors import AssetInvalid

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(unpacked_b=2_000_000)
MANIFEST = '{"name": "ex", "version": "1.0.0"}'
LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"


def tried(tmp_path, data):
    """Check and unpack a zip as an upload would be: its folder, or None when it was refused.

    Nothing may be left that is not in the folder of the bundle.
    """
    path, folders = tmp_path / "x.zip", AssetFolders(tmp_path / "assets")
    path.write_bytes(data)
    folder = None
    try:
        check(path, LIMITS)
        folder = folders.fill(id_of(data), path, LIMITS)
    except AssetInvalid:
        pass
    left = {one.name for one in folders.root.iterdir()} if folders.root.exists() else set()
    assert left - {".locks"} == ({folder.name} if folder else set())
    assert {one.name for one in tmp_path.iterdir()} <= {"x.zip", "assets"}
    return folder


def refused(tmp_path, data):
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    with pytest.raises(AssetInvalid) as info:
        check(path, LIMITS)
    assert tried(tmp_path, data) is None
    return str(info.value)


def streamed(files):
    """A zip whose sizes stand behind the files, as those that are written to a pipe."""
    buffer = io.BytesIO()

    class Pipe(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            return buffer.write(data)

    with zipfile.ZipFile(Pipe(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def patched(data, at, layout, *values):
    changed = bytearray(data)
    struct.pack_into(layout, changed, at, *values)
    return bytes(changed)


FILES = {"asset.json": MANIFEST, "ops/__init__.py": "x = 1\n" * 50}


def test_sizes_behind_the_files_are_read(tmp_path):
    assert (tried(tmp_path, streamed(FILES)) / "ops/__init__.py").read_text() == FILES["ops/__init__.py"]


@pytest.mark.parametrize("offset", [4, 8, 12], ids=["crc", "packed", "size"])
def test_sizes_behind_a_file_that_lie_are_refused(tmp_path, offset):
    data = streamed(FILES)

    assert "is not what the list" in refused(
        tmp_path, patched(data, data.index(b"PK\7\10") + offset, "<I", 7)
    )


@pytest.mark.parametrize(("offset", "value"), [(14, 7), (18, 7), (22, 7)], ids=["crc", "packed", "size"])
def test_sizes_before_a_file_that_lie_are_refused(tmp_path, offset, value):
    assert "is not what the list" in refused(tmp_path, patched(zip_of(FILES), offset, "<I", value))


def test_a_kernel_that_many_names_share_is_refused(tmp_path):
    """The quoted overlap of a known bomb: all entries of the list lead to one file."""
    data = zip_of({"asset.json": MANIFEST, "kernel": bytes(100_000)})
    start = data.index(CENTRAL)
    second = data.index(CENTRAL, start + 4)
    entry, end = data[second : data.index(END)], data[data.index(END) :]
    entries = data[start:second] + b"".join(entry.replace(b"kernel", b"%06d" % n) for n in range(50))
    end = end[:8] + struct.pack("<HHI", 51, 51, len(entries)) + end[16:]

    assert "overlaps" in refused(tmp_path, data[:start] + entries + end)


@pytest.mark.parametrize("size", [0xFFFFFFFFFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 1 << 40, 0])
def test_sizes_of_64_bits_that_lie_are_refused(tmp_path, size):
    data = zip_of(FILES)
    start = data.index(CENTRAL)
    extra = struct.pack("<HHQQ", 1, 16, size, size)
    name_b = len("asset.json")
    entry = bytearray(data[start : start + 46 + name_b])
    struct.pack_into("<II", entry, 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<H", entry, 30, len(extra))
    rest, end = data[start + 46 + name_b : data.index(END)], data[data.index(END) :]
    entries = bytes(entry) + extra + rest
    changed = data[:start] + entries + patched(end, 12, "<I", len(entries))

    refused(tmp_path, changed)


def test_a_list_of_64_bits_that_leads_nowhere_is_refused(tmp_path):
    data = zip_of(FILES)
    end = data.index(END)
    for offset in (0, 1 << 40, (1 << 64) - 1):
        record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, 100, offset)
        locator = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
        tail = patched(data[end:], 8, "<HHII", 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
        refused(tmp_path, data[:end] + record + locator + tail)


def test_a_hundred_thousand_entries_are_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("asset.json", MANIFEST)
        for number in range(100_000):
            archive.writestr(zipfile.ZipInfo(f"{number:06}"), b"")

    assert "more than 20000 entries" in refused(tmp_path, buffer.getvalue())


def test_entries_of_wheels_count_too(tmp_path):
    content = dict.fromkeys((f"d/{number}" for number in range(10_001)), "")

    assert "more than 20000 entries" in refused(
        tmp_path, bundle(files=wheel("a", files=content) | wheel("b", files={}) | content)
    )


@pytest.mark.parametrize(
    "name",
    [
        "ops/\u202egnp.py",  # shown from right to left
        "ops/\u200bx.py",  # a blank without width
        "ops/\u2028x.py",
        "ops/\x7fx.py",
        "\ufeffasset.json",
    ],
)
def test_letters_that_nobody_sees_are_refused(tmp_path, name):
    assert "letters that no path should have" in refused(tmp_path, zip_of(FILES | {name: "x"}))


def test_a_second_name_of_an_entry_is_not_taken(tmp_path):
    """Some programs unpack under the name in the extra field of the same entry."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("asset.json", MANIFEST)
        entry = zipfile.ZipInfo("good.py")
        name = b"../evil.py"
        body = struct.pack("<BI", 1, zlib.crc32(b"good.py")) + name
        entry.extra = struct.pack("<HH", 0x7075, len(body)) + body
        archive.writestr(entry, "x")
    folder = tried(tmp_path, data.getvalue())

    assert folder is None or (folder / "good.py").read_text() == "x"
    assert not (tmp_path / "evil.py").exists()


def test_checking_a_bomb_takes_no_memory(tmp_path):
    """Of 300 MB of zeros, alone and in a wheel, and of a list of entries as long as it may be."""
    bomb = zip_of({"asset.json": MANIFEST, "bomb": bytes(300_000_000)})
    inside = bundle(files=wheel(files={"bomb.bin": bytes(300_000_000)}))
    many = bundle(files={f"f{number}": "" for number in range(19_999)})
    peaks = []
    for number, data in enumerate((zip_of(FILES), bomb, inside, many)):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(data)
        script = (
            "import sys, pathlib, resource\n"
            "from tsd.assets.archive import Limits, check\n"
            "try: check(pathlib.Path(sys.argv[1]), Limits(unpacked_b=10**9))\n"
            "except Exception as error: print(type(error).__name__, error, file=sys.stderr)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, path], check=True, capture_output=True, text=True, cwd=ROOT
        )
        peaks.append(int(done.stdout))
        assert ("AssetInvalid" in done.stderr) == (number in {1, 2}), done.stderr

    assert max(peaks) - peaks[0] < 40_000, f"KiB: {peaks}"


# --- fuzzing ------------------------------------------------------------------------------------

_RICH = bundle(
    files={
        "ops/__init__.py": "x = 1\n" * 20,
        "static/a.bin": os.urandom(300),
        **wheel(files={"tiny.py": "VERSION = 1\n" * 20}),
    }
)
GOOD = [zip_of(FILES), streamed(FILES), _RICH, zip_of(FILES | {"ops/": "", "long/" + "n" * 200: "y"})]
NAMES = [
    "../evil",
    "/tmp/evil",
    "ops/__init__.py",
    "OPS/x",
    "asset.json",
    "a\\b",
    "ops",
    "site/x",
    "ok.py",
    "C:x",
]
MODES = [0, 0o100644, 0o120777, 0o020666, 0o040755]


@st.composite
def tampered(draw):
    """A good zip after some of what can happen to it."""
    data = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(
            st.sampled_from(["flip", "flip", "number", "cut", "cut out", "twice", "insert", "entry", "list"])
        ):
            case "flip" if data:
                data[place] ^= draw(st.integers(1, 255))
            case "number":
                number = draw(st.sampled_from([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 31]))
                data[place : place + 4] = struct.pack("<I", number)
            case "cut":
                del data[place:]
            case "cut out":
                del data[place : place + draw(st.integers(1, 60))]
            case "twice":
                data[place:place] = data[place : place + draw(st.integers(1, 200))]
            case "insert":
                data[place:place] = draw(st.binary(max_size=40))
            case "list":
                # Into the list of entries, where most of what matters is.
                at = data.find(CENTRAL)
                if at >= 0 and len(data) > at + 46:
                    data[at + draw(st.integers(4, 45))] = draw(st.integers(0, 255))
            case "entry":
                buffer = io.BytesIO(bytes(data))
                try:
                    with zipfile.ZipFile(buffer, "a") as archive:
                        info = zipfile.ZipInfo("placeholder")
                        info.filename = draw(st.sampled_from(NAMES))
                        info.external_attr = draw(st.sampled_from(MODES)) << 16
                        archive.writestr(info, draw(st.binary(max_size=20)))
                except Exception:  # noqa: BLE001 - it is no zip any more
                    continue
                data = bytearray(buffer.getvalue())
    return bytes(data)


def holds(tmp_path_factory, data):
    """Whatever it is, it is unpacked as another reader of zips has it, or refused."""
    folder = tried(tmp_path_factory.mktemp("fuzz"), data)
    if folder is None:
        return
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        names = [name for name in opened.namelist() if not name.endswith("/")]
        for name in names:
            if not name.startswith("wheels/"):
                assert (folder / name).read_bytes() == opened.read(name)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    apart = ("site/", "wheels/")
    assert {name for name in found if not name.startswith(apart)} == {
        name for name in names if not name.startswith(apart)
    }
    assert all(path.is_file() and not path.is_symlink() for path in folder.rglob("*") if not path.is_dir())


_QUICK = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
_LONG = settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))


@_QUICK
@given(data=tampered())
def test_a_zip_that_was_tampered_with_is_unpacked_as_it_is_or_refused(tmp_path_factory, data):
    holds(tmp_path_factory, data)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@_LONG
@given(data=tampered())
def test_zips_that_were_tampered_with_for_long(tmp_path_factory, data):
    holds(tmp_path_factory, data)
