"""The folder that a bundle is made of, and its zip: equal files give an equal zip, and so an equal id.

What is not of the bundle stays out: names that begin with a dot, caches of Python, and at the top tests,
examples, what builds leave, zips, and virtual environments.
"""

import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tsd.assets.manifest import FILE_NAME
from tsd.errors import AssetInvalid

NOT_AT_THE_TOP: Final = frozenset({"build", "dist", "examples", "node_modules", "tests"})
_MOMENT = (1980, 1, 1, 0, 0, 0)
"""Of all entries; the first that a zip can have."""
_MODE = stat.S_IFREG | 0o644


def is_source(folder: Path) -> bool:
    """Whether a bundle can be made of a folder."""
    return (folder / FILE_NAME).is_file()


def source_files(folder: Path) -> dict[str, Path]:
    """The files of the bundle, by their paths in it, sorted.

    Raises:
        AssetInvalid: One is a link, a device, or no file at all.
        OSError: The folder can not be read.
    """
    found = {}
    for path in _walk(folder, is_top=True):
        name = path.relative_to(folder).as_posix()
        if not stat.S_ISREG(path.lstat().st_mode):
            raise AssetInvalid(f"{name} is a link or a device, and a bundle has files only: copy it there")
        found[name] = path
    return dict(sorted(found.items()))


def _walk(folder: Path, *, is_top: bool = False) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name == "__pycache__" or path.suffix == ".pyc":
            continue
        if is_top and (path.name in NOT_AT_THE_TOP or path.suffix in {".zip", ".egg-info"}):
            continue
        if path.is_dir() and not path.is_symlink():
            if not (path / "pyvenv.cfg").exists():
                yield from _walk(path)
        else:
            yield path


def write_zip(folder: Path, target: Path) -> None:
    """Write the bundle of a folder into a file, which replaces one that is there whole or not at all.

    Raises:
        AssetInvalid: As `source_files`.
        OSError: It can not be read or written.
    """
    files = source_files(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(partial, "w") as archive:
            for name, path in files.items():
                entry = zipfile.ZipInfo(name, _MOMENT)
                entry.create_system = 3  # Unix, wherever it is made: the mode stands in its words
                entry.external_attr = _MODE << 16
                entry.compress_type = zipfile.ZIP_STORED if name.endswith(".whl") else zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes(), compresslevel=9)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
