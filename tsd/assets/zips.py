"""Reading a zip without trusting a word of it.

Whoever may upload can run code anyway; the rules are for zips that are broken or made by mistake, and for
whatever comes through a client that was talked into it. Sizes that a zip claims are not believed: what
counts is what really comes out while it is read, and reading ends where a limit is passed. What one reader
of zips would take for something else than another is refused.
"""

import contextlib
import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, Final

import attrs

from tsd.errors import AssetInvalid

ENTRIES_MAX: Final = 20_000
"""Of a bundle, with those of the wheels in it."""
PATH_LENGTH_MAX: Final = 1000
DEPTH_MAX: Final = 32
"""Folders in folders; more are a way to use up memory."""

_SIGNATURE = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<4s2xHHxxxxIIIHH")
_DESCRIPTOR = b"PK\x07\x08"
_HAS_DESCRIPTOR = 0x08
_ENCRYPTED = 0x2041
_IN_EXTRA_FIELD = 0xFFFFFFFF
"""Stands for a size that needs 64 bits."""
_DIRECTORY_B_MAX: Final = 4 * 1024 * 1024
"""Of the list of entries at the end of the zip: `ENTRIES_MAX` of them need less."""
_READ_B: Final = 64 * 1024
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""Others may take gigabytes of memory to unpack."""
_BAD_LETTERS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Control letters, and those that are not seen or turn the direction of what is shown."""
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    ValueError,
    OSError,
    RuntimeError,
)
"""What zipfile raises for bytes that are no good zip."""


class NotAZip(AssetInvalid):
    """The bytes are no zip at all."""


class Budget:
    """What may still come out of a bundle: bytes and entries, those of zips in it included.

    Args:
        size_b: So many bytes.
    """

    def __init__(self, size_b: int) -> None:
        self._size_b = self._left_b = size_b
        self._entries_left = ENTRIES_MAX

    def take(self, count: int) -> None:
        """Take so many bytes out.

        Raises:
            AssetInvalid: There are not so many left.
        """
        self._left_b -= count
        if self._left_b < 0:
            raise AssetInvalid(f"the bundle unpacks to more than {self._size_b} bytes")

    def take_entries(self, count: int) -> None:
        """Take so many entries out; raises as `take`."""
        self._entries_left -= count
        if self._entries_left < 0:
            raise _too_many()


@attrs.frozen(eq=False)
class Zip:
    """An open zip whose entries were found good; make it with `open_zip`.

    Attributes:
        files: Paths of its files, in the order of the zip.
    """

    files: tuple[str, ...]
    _opened: zipfile.ZipFile
    _budget: Budget

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file, which count against the budget.

        Raises:
            AssetInvalid: They can not be read, or there are too many.
        """
        try:
            with self._opened.open(name) as file:
                while chunk := file.read(_READ_B):
                    self._budget.take(len(chunk))
                    yield chunk
        except _UNREADABLE as error:
            raise AssetInvalid(f"{name[:200]} can not be unpacked: {error}") from error

    def content(self, name: str, size_max: int) -> bytes:
        """A whole file; raises as `chunks`, and when it has more than so many bytes."""
        content = bytearray()
        for chunk in self.chunks(name):
            content += chunk
            if len(content) > size_max:
                raise AssetInvalid(f"{name[:200]} has more than {size_max} bytes")
        return bytes(content)


@contextlib.contextmanager
def open_zip(file: IO[bytes], budget: Budget) -> Iterator[Zip]:
    """Open a zip and look at all of its entries.

    Raises:
        NotAZip: It is none.
        AssetInvalid: An entry is not allowed; the message says which.
    """
    file.seek(0)
    if file.read(len(_SIGNATURE)) != _SIGNATURE:
        raise NotAZip("it does not begin like a zip")
    cautious: Any = _Cautious(file)
    try:
        opened = zipfile.ZipFile(cautious)
    except _UNREADABLE as error:
        raise NotAZip(str(error)) from error
    with opened:
        entries = opened.infolist()
        budget.take_entries(len(entries))
        files = _checked(entries)
        _check_layout(file, entries, opened.start_dir)
        yield Zip(files, opened, budget)


class _Cautious:
    """A file for zipfile that does not read a list of entries of any size into memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size > _DIRECTORY_B_MAX:
            raise _too_many()
        # Without a size it reads the end of the file, which is short.
        return self._file.read(size if size >= 0 else _DIRECTORY_B_MAX)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _too_many() -> AssetInvalid:
    return AssetInvalid(f"the bundle has more than {ENTRIES_MAX} entries")


# --- which entries there may be -----------------------------------------------------------------


def _checked(entries: list[zipfile.ZipInfo]) -> tuple[str, ...]:
    """The files among the entries, all of them found good."""
    names = _Names()
    for entry in entries:
        _check_entry(entry)
        names.add(entry.filename.rstrip("/"), is_folder=entry.is_dir())
    return tuple(entry.filename for entry in entries if not entry.is_dir())


class _Names:
    """The names so far; on some file systems those that differ in case or accents only are the same."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def add(self, name: str, *, is_folder: bool) -> None:
        """Add an entry.

        Raises:
            AssetInvalid: It is there already, or is a file where another entry has a folder.
        """
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        parts = key.split("/")
        parents = {"/".join(parts[:count]) for count in range(1, len(parts))}
        taken = self._files if is_folder else self._files | self._folders
        if key in taken or parents & self._files:
            raise AssetInvalid(f"the bundle has {name[:200]} twice, or as a file and as a folder")
        self._folders |= parents
        (self._folders if is_folder else self._files).add(key)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    reason = _fault_of_name(name)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if reason is None and entry.filename != name:
        reason = "has a second name"
    if reason is None and kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        reason = "is a link or a device"
    if reason is None and entry.flag_bits & _ENCRYPTED:
        reason = "is encrypted"
    if reason is None and entry.compress_type not in _METHODS:
        reason = "is compressed in a way that is not read here"
    if reason is not None:
        raise AssetInvalid(f"the bundle can not be unpacked: {name[:200]!r} {reason}")


def _fault_of_name(name: str) -> str | None:
    if len(name) > PATH_LENGTH_MAX:
        return "has too long a path"
    if "\\" in name or any(unicodedata.category(letter) in _BAD_LETTERS for letter in name):
        return "has letters that no path should have"
    parts = name.removesuffix("/").split("/")
    if len(parts) > DEPTH_MAX:
        return "is in too many folders"
    if any(part in {"", ".", ".."} for part in parts) or ":" in parts[0]:
        return "leads out of the bundle"
    if any(len(os.fsencode(part)) > 255 for part in parts):
        return "has too long a name"
    return None


# --- whether the zip says the same everywhere ---------------------------------------------------


def _check_layout(file: IO[bytes], entries: list[zipfile.ZipInfo], directory_at: int) -> None:
    """Compare what the list of entries says with what stands before the files.

    Raises:
        AssetInvalid: They differ, or two files share bytes of the zip, which is how small zips become large.
    """
    free_at = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        begins_well = free_at <= entry.header_offset < directory_at
        end = _end_of(file, entry) if begins_well else 0
        if not begins_well or end > directory_at:
            raise AssetInvalid(
                f"the bundle can not be unpacked: {entry.filename[:200]!r} overlaps what is beside it"
            )
        free_at = end


def _end_of(file: IO[bytes], entry: zipfile.ZipInfo) -> int:
    """Where the data of an entry ends."""
    file.seek(entry.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_SIGNATURE):
        raise _torn(entry)
    _, flags, method, crc, packed_b, size_b, name_b, extra_b = _LOCAL_HEADER.unpack(header)
    end: int = entry.header_offset + _LOCAL_HEADER.size + name_b + extra_b + entry.compress_size
    told = (crc, packed_b, size_b)
    wanted = (entry.CRC, entry.compress_size, entry.file_size)
    if flags & _HAS_DESCRIPTOR:
        is_same = all(one in {0, _IN_EXTRA_FIELD, other} for one, other in zip(told, wanted, strict=True))
        is_same = is_same and (entry.is_dir() or _has_descriptor(file, end, wanted))
    else:
        is_same = crc == entry.CRC and all(
            one in {_IN_EXTRA_FIELD, other} for one, other in zip(told[1:], wanted[1:], strict=True)
        )
    if not is_same or method != entry.compress_type:
        raise _torn(entry)
    return end


def _has_descriptor(file: IO[bytes], at: int, wanted: tuple[int, int, int]) -> bool:
    """Whether the sizes behind a file, where they stand when they were not known before, are right."""
    file.seek(at)
    found = file.read(len(_DESCRIPTOR) + struct.calcsize("<IQQ")).removeprefix(_DESCRIPTOR)
    for layout in ("<III", "<IQQ"):
        size = struct.calcsize(layout)
        if len(found) >= size and struct.unpack(layout, found[:size]) == wanted:
            return True
    return False


def _torn(entry: zipfile.ZipInfo) -> AssetInvalid:
    return AssetInvalid(
        f"the bundle can not be unpacked: what stands before {entry.filename[:200]!r} is not what the list of"
        " entries says of it"
    )
