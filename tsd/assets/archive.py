"""The zip of a bundle: checked without trusting a word of it, and unpacked under the same rules.

Whoever may upload can run code anyway; the rules are for bundles that are broken or made by mistake, and for
whatever comes through a client that was talked into it. Sizes that a zip claims are not believed: what
counts is what really comes out while it is read, and reading ends where a limit is passed.
"""

import os
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import attrs

from tsd.assets import manifest
from tsd.assets.manifest import Manifest, read_manifest
from tsd.errors import AssetInvalid

NOT_A_ZIP: Final = "Failed to save asset. File type not recognized as zip."
ENTRIES_MAX: Final = 20_000
PATH_LENGTH_MAX: Final = 1000
DEPTH_MAX: Final = 32
"""Folders in folders; more are a way to use up memory."""
RATIO_MAX: Final = 100
"""How many times its size a zip may unpack to, beyond `RATIO_FREE_B`."""
RATIO_FREE_B: Final = 16 * 1024 * 1024

_SIGNATURE = b"PK\x03\x04"
_DIRECTORY_B_MAX: Final = 4 * 1024 * 1024
"""Of the list of entries at the end of the zip: `ENTRIES_MAX` of them need less."""
_READ_B: Final = 64 * 1024
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""Others may take gigabytes of memory to unpack."""
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    ValueError,
    OSError,
    RuntimeError,
)
"""What zipfile raises for bytes that are no good zip."""


@attrs.frozen(kw_only=True)
class Limits:
    """What a bundle may be.

    Attributes:
        unpacked_b: Of all its files together.
    """

    unpacked_b: int

    @classmethod
    def of(cls, zip_b_max: int) -> "Limits":
        """Those where zips may have so many bytes."""
        return cls(unpacked_b=4 * zip_b_max)

    def allowed_b(self, zip_b: int) -> int:
        """How much may come out of a zip of that size."""
        return min(self.unpacked_b, max(RATIO_FREE_B, RATIO_MAX * zip_b))


@attrs.frozen(kw_only=True)
class Contents:
    """What a good bundle holds.

    Attributes:
        files: Paths of its files, in the order of the zip.
    """

    manifest: Manifest
    files: tuple[str, ...]


def check(archive: Path, limits: Limits) -> Contents:
    """Read a whole zip, keep nothing of it but the manifest. Blocks.

    Raises:
        AssetInvalid: It is no bundle; the message says why.
    """
    text = b""
    files = []
    for entry, chunks in _entries(archive, limits):
        files.append(entry.filename)
        if entry.filename != manifest.FILE_NAME:
            for _ in chunks:
                pass
            continue
        for chunk in chunks:
            text += chunk
            if len(text) > manifest.SIZE_MAX:
                raise AssetInvalid(f"{manifest.FILE_NAME} has more than {manifest.SIZE_MAX} bytes")
    if manifest.FILE_NAME not in files:
        raise AssetInvalid(f"{manifest.FILE_NAME} was not found in root directory of asset bundle")
    return Contents(manifest=read_manifest(text), files=tuple(files))


def unpack(archive: Path, folder: Path, limits: Limits) -> None:
    """Write the files of a zip into an empty folder, durably. Blocks.

    Raises:
        AssetInvalid: It is no good zip; some files may have been written.
        OSError: They can not be written.
    """
    made = [folder]
    for entry, chunks in _entries(archive, limits):
        path = folder / entry.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        made += [path, *(parent for parent in path.parents if parent.is_relative_to(folder))]
        with path.open("xb") as file:
            file.writelines(chunks)
    # All written first: then most of it is on the disk with the first sync.
    for path in dict.fromkeys(made):
        sync(path)


def sync(path: Path) -> None:
    """Make the content of a file, or the names in a folder, durable. Blocks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


Entry = tuple[zipfile.ZipInfo, Iterator[bytes]]


def _entries(archive: Path, limits: Limits) -> Iterator[Entry]:
    """The files of a zip, each with its bytes, which have to be read before the next one."""
    with _Cautious(archive) as file:
        if file.read(len(_SIGNATURE)) != _SIGNATURE:
            raise AssetInvalid(NOT_A_ZIP)
        left = _Budget(limits.allowed_b(archive.stat().st_size))
        try:
            opened = zipfile.ZipFile(file)
        except _UNREADABLE as error:
            raise AssetInvalid(f"{NOT_A_ZIP} {error}") from error
        with opened:
            for entry in _checked(opened.infolist()):
                yield entry, _chunks(opened, entry, left)


class _Budget:
    """How many bytes may still come out."""

    def __init__(self, size_b: int) -> None:
        self._size_b = self._left_b = size_b

    def take(self, count: int) -> None:
        self._left_b -= count
        if self._left_b < 0:
            raise AssetInvalid(f"the bundle unpacks to more than {self._size_b} bytes")


class _Cautious:
    """A file for zipfile that does not read a list of entries of any size into memory."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("rb")

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        if size > _DIRECTORY_B_MAX:
            raise AssetInvalid(f"the bundle has more than {ENTRIES_MAX} entries")
        # Without a size it reads the end of the file, which is short.
        return self._file.read(size if size >= 0 else _DIRECTORY_B_MAX)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _chunks(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, left: _Budget) -> Iterator[bytes]:
    try:
        with opened.open(entry) as file:
            while chunk := file.read(_READ_B):
                left.take(len(chunk))
                yield chunk
    except _UNREADABLE as error:
        raise AssetInvalid(f"{entry.filename[:200]} can not be unpacked: {error}") from error


# --- which entries a bundle may have ------------------------------------------------------------


def _checked(entries: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """The files among the entries, all of them found good."""
    if len(entries) > ENTRIES_MAX:
        raise AssetInvalid(f"the bundle has more than {ENTRIES_MAX} entries")
    files = _Names()
    for entry in entries:
        _check_entry(entry)
        files.add(entry.filename.rstrip("/"), is_folder=entry.is_dir())
    return [entry for entry in entries if not entry.is_dir()]


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
        key = unicodedata.normalize("NFC", name).casefold()
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
    if reason is None and kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        reason = "is a link or a device"
    if reason is None and entry.flag_bits & 0x2041:
        reason = "is encrypted"
    if reason is None and entry.compress_type not in _METHODS:
        reason = "is compressed in a way that is not read here"
    if reason is not None:
        raise AssetInvalid(f"the bundle can not be unpacked: {name[:200]!r} {reason}")


def _fault_of_name(name: str) -> str | None:
    if len(name) > PATH_LENGTH_MAX:
        return "has too long a path"
    if "\\" in name or any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in name):
        return "has letters that no path should have"
    parts = name.removesuffix("/").split("/")
    if len(parts) > DEPTH_MAX:
        return "is in too many folders"
    if any(part in {"", ".", ".."} for part in parts) or ":" in parts[0]:
        return "leads out of the bundle"
    if any(len(part.encode()) > 255 for part in parts):
        return "has too long a name"
    return None
