"""Compressed files: read as streams in bounded memory, damaged ones told by name."""

import bz2
import gzip
import lzma
import subprocess
import sys
import tracemalloc
from collections import deque

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.support.files import read_all, source
from tsd.errors import JobInvalid, NonRetryable
from tsd.operations.config import load
from tsd.operations.standard.compression import READABLE, SUFFIXES, WRITABLE, compress, decompress
from tsd.operations.standard.file_exporter import FileExporterConfig
from tsd.operations.standard.storage import DamagedError

COMPRESS = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
DECOMPRESS = {
    "gzip": gzip.decompress,
    "lz4": lz4.frame.decompress,
    "zstd": zstandard.ZstdDecompressor().decompress,
}
MiB = 1_048_576


def inflate(data, compression, *, piece_b=MiB, most_b=2**40):
    pieces = (data[start : start + piece_b] for start in range(0, len(data), piece_b))
    return list(decompress(pieces, compression, most_b=most_b))


def test_there_is_a_test_for_every_compression():
    assert set(READABLE) == {"none", *COMPRESS}
    assert set(WRITABLE) == {"none", *DECOMPRESS} == set(SUFFIXES)


@pytest.mark.parametrize("compression", DECOMPRESS)
@given(data=st.binary(max_size=300))
def test_what_is_written_can_be_read_by_others_and_is_the_same_each_time(compression, data):
    assert DECOMPRESS[compression](compress(data, compression)) == data
    assert compress(data, compression) == compress(data, compression)


@pytest.mark.parametrize("compression", COMPRESS)
@given(
    members=st.lists(st.binary(max_size=80), min_size=1, max_size=4),
    piece_b=st.integers(1, 90),
    padding_b=st.integers(0, 9),
)
def test_members_one_after_another_are_one_file(compression, members, piece_b, padding_b):
    """However the bytes arrive, and with nulls behind a member, as tapes and xz have them."""
    data = b"".join(COMPRESS[compression](member) + b"\0" * padding_b for member in members)

    assert b"".join(inflate(data, compression, piece_b=piece_b)) == b"".join(members)


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_file_that_is_cut_anywhere_is_told_and_never_read_as_a_shorter_one(tmp_path, compression):
    path = tmp_path / "f"
    whole = COMPRESS[compression](b'{"a":1}\n' * 50)

    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(NonRetryable, match=f"file {path} can not be read: its {compression} data ends"):
            read_all(source(path, compression=compression))


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("junk", [b'{"a":1}\n', b"\x01" * 40])
def test_what_is_not_compressed_so_is_told_also_behind_a_good_member(tmp_path, compression, junk):
    path = tmp_path / "f"

    for data in (junk, COMPRESS[compression](b"{}\n") + junk):
        path.write_bytes(data)
        with pytest.raises(NonRetryable, match=f"file {path} can not be read: it"):
            read_all(source(path, compression=compression))


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_damaged_byte_is_found_by_the_checksum(compression):
    content = bytes(range(256)) * 40
    if compression == "zstd":
        whole = zstandard.ZstdCompressor(write_checksum=True).compress(content)
    elif compression == "lz4":
        whole = lz4.frame.compress(content, content_checksum=True)
    else:
        whole = COMPRESS[compression](content)
    damaged = bytearray(whole)
    damaged[len(whole) * 2 // 3] ^= 1

    with pytest.raises(DamagedError):
        inflate(bytes(damaged), compression)


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_bomb_ends_at_the_limit_with_little_memory(compression):
    bomb = COMPRESS[compression](bytes(120 * MiB))
    tracemalloc.start()

    with pytest.raises(DamagedError, match="raise max_decompressed"):
        deque(decompress(iter([bomb]), compression, most_b=100 * MiB), maxlen=0)
    peak_b = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak_b < 80 * MiB


def test_the_limit_is_an_option_and_names_the_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(gzip.compress(b"{}\n" * 100))

    assert len(read_all(source(path, compression="gzip", max_decompressed=300))) == 100
    with pytest.raises(NonRetryable, match=f"{path} can not be read: it becomes more than 299 bytes"):
        read_all(source(path, compression="gzip", max_decompressed=299))


@pytest.mark.parametrize("form", ["ldjson", "raw", "csv"])
def test_a_large_file_needs_little_memory_besides_its_records(tmp_path, form):
    """The lines are bad, so that there are no records: what is left is what reading itself needs."""
    path = tmp_path / "f.gz"
    lines = {"ldjson": b'{"a"' + b"x" * 995 + b"\n", "raw": b"\xff" * 999 + b"\n"}
    line = lines.get(form, b"\xff" * 500 + b"," + b"b" * 498 + b"\n")
    path.write_bytes(gzip.compress((b"a,b\n" if form == "csv" else b"") + line * 64_000))
    count = [0]

    def reject(_line, _error):
        count[0] += 1

    files = source(path, form, compression="gzip", reject=reject)
    (request,) = files.requests()
    tracemalloc.start()
    assert files.read(request) == []
    peak_b = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert count == [64_000]
    assert peak_b < 24 * MiB


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("form", ["ldjson", "json", "raw", "csv", "tsv"])
def test_every_format_is_read_from_every_compression(tmp_path, form, compression):
    """Point 35, of files that others wrote; with a line longer than a piece of the stream."""
    rows = [{"a": "é" * n, "b": str(n)} for n in (1, 2_000_000, 3)]
    content = {
        "ldjson": "".join(f'{{"a":"{row["a"]}","b":"{row["b"]}"}}\r\n' for row in rows),
        "json": "[" + ",".join(f'{{"a":"{row["a"]}","b":"{row["b"]}"}}' for row in rows) + "]",
        "raw": "".join(f"{row['a']}\n" for row in rows),
        "csv": "a,b\n" + "".join(f"{row['a']},{row['b']}\n" for row in rows),
        "tsv": "a\tb\n" + "".join(f"{row['a']}\t{row['b']}\n" for row in rows),
    }[form]
    path = tmp_path / "f"
    path.write_bytes(COMPRESS[compression](("\ufeff" + content).encode()))

    expected = [{"data": row["a"]} for row in rows] if form == "raw" else rows
    assert read_all(source(path, form, compression=compression)) == expected


def test_bz2_and_xz_are_only_read():
    for compression in ("bz2", "xz"):
        with pytest.raises(JobInvalid, match="compression"):
            load(
                FileExporterConfig,
                {"_op": "file_exporter", "path": "x", "format": "raw", "compression": compression},
            )


def test_the_libraries_are_imported_only_when_they_are_needed():
    program = (
        "import sys, tsd.operations.standard.file_reader, tsd.operations.standard.file_exporter\n"
        "assert not {'lz4', 'zstandard'} & set(sys.modules)\n"
        "from tsd.operations.standard.compression import compress\n"
        "compress(b'', 'zstd')\n"
        "assert 'zstandard' in sys.modules and 'lz4' not in sys.modules"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
