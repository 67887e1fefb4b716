"""The zip of a bundle: checked, and unpacked under the same rules, with the wheels in it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs

from tsd.assets import manifest, wheels
from tsd.assets.manifest import Manifest, read_manifest
from tsd.assets.wheels import Wheel
from tsd.assets.zips import Budget, NotAZip, Zip, open_zip
from tsd.errors import AssetInvalid

NOT_A_ZIP: Final = "Failed to save asset. File type not recognized as zip."
SITE: Final = "site"
"""The folder of an unpacked bundle in which the content of its wheels is."""
RATIO_MAX: Final = 100
"""How many times its size a zip may unpack to, beyond `RATIO_FREE_B`."""
RATIO_FREE_B: Final = 16 * 1024 * 1024


@attrs.frozen(kw_only=True)
class Limits:
    """What a bundle may be.

    Attributes:
        unpacked_b: Of all its files together, those in its wheels too.
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
        wheels: The wheels among them, all of them found whole.
    """

    manifest: Manifest
    files: tuple[str, ...]
    wheels: tuple[Wheel, ...] = ()


def check(archive: Path, limits: Limits) -> Contents:
    """Read a whole zip, and the wheels in it; keep nothing but what they say. Blocks.

    Raises:
        AssetInvalid: It is no bundle; the message says why.
    """
    with _opened(archive, limits) as (opened, budget):
        _check_places(opened.files)
        text, found = b"", []
        for name in opened.files:
            if name == manifest.FILE_NAME:
                text = opened.content(name, manifest.SIZE_MAX)
            elif wheels.is_wheel(name):
                found.append(_read_wheel(opened, name, budget, archive.parent))
            else:
                for _ in opened.chunks(name):
                    pass
        return Contents(manifest=read_manifest(text), files=opened.files, wheels=tuple(found))


def unpack(archive: Path, folder: Path, limits: Limits) -> None:
    """Write the files of a zip into an empty folder, durably; its wheels become a folder `site`. Blocks.

    Raises:
        AssetInvalid: It is no good zip, or its wheels do not fit here; some files may have been written.
        OSError: They can not be written.
    """
    made: dict[Path, None] = {folder: None}
    with _opened(archive, limits) as (opened, budget):
        _check_places(opened.files)
        kept = []
        for name in opened.files:
            paths = dict.fromkeys(_write(folder, name, opened.chunks(name)))
            if wheels.is_wheel(name):
                kept.append(name)
            else:
                made |= paths
        if kept:
            requirements = read_manifest((folder / manifest.FILE_NAME).read_bytes()).requirements()
            with wheels.open_wheels(folder, kept, budget) as found:
                for name, chunks in wheels.site_of(found, requirements):
                    made |= dict.fromkeys(_write(folder / SITE, name, chunks))
            _remove_wheels(folder, kept)
    # All written first: then most of it is on the disk with the first sync.
    for path in made:
        sync(path)


def sync(path: Path) -> None:
    """Make the content of a file, or the names in a folder, durable. Blocks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _opened(archive: Path, limits: Limits) -> Iterator[tuple[Zip, Budget]]:
    budget = Budget(limits.allowed_b(archive.stat().st_size))
    with archive.open("rb") as file:
        try:
            with open_zip(file, budget) as opened:
                yield opened, budget
        except NotAZip as error:
            raise AssetInvalid(f"{NOT_A_ZIP} {error}") from error


def _check_places(files: tuple[str, ...]) -> None:
    """Whether everything is where it belongs.

    Raises:
        AssetInvalid: Something is not.
    """
    if manifest.FILE_NAME not in files:
        raise AssetInvalid(f"{manifest.FILE_NAME} was not found in root directory of asset bundle")
    wheels.check_folder(files)
    if any(wheels.is_wheel(name) for name in files):
        for name in files:
            if name.casefold().startswith(f"{SITE}/") or name.casefold() == SITE:
                raise AssetInvalid(
                    f"{name[:200]}: {SITE} is where the wheels are unpacked, call the folder otherwise"
                )


def _read_wheel(opened: Zip, name: str, budget: Budget, folder: Path) -> Wheel:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.writelines(opened.chunks(name))
        with wheels.open_wheel(name, file, budget) as found:
            for _, chunks in found.contents():
                for _ in chunks:
                    pass
            return found.wheel


def _remove_wheels(folder: Path, names: list[str]) -> None:
    """Take away what `site` has the content of."""
    for name in names:
        (folder / name).unlink()
    with suppress(OSError):  # something else is there
        (folder / wheels.FOLDER).rmdir()


def _write(folder: Path, name: str, chunks: Iterator[bytes]) -> Iterator[Path]:
    """Write a file below a folder; it, and the folders on the way."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.writelines(chunks)
    yield path
    yield from (parent for parent in path.parents if parent.is_relative_to(folder))
