"""Where the libraries are that a bundle brings.

A bundle that was unpacked for a cluster has them in its folder `site`. The folder that a bundle is made of
has wheels in `wheels`; for tests of its operations they are unpacked for the life of the process.
"""

import atexit
import shutil
import tempfile
import zipfile
from functools import cache
from pathlib import Path

from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename


def sites_of(folder: Path) -> tuple[Path, ...]:
    """The folders to import libraries of a bundle from; none when it brings none."""
    site = folder / "site"
    if next(site.glob("*.dist-info"), None) is not None:
        return (site,)
    files = sorted((folder / "wheels").glob("*.whl"))
    return _unpacked(tuple(files)) if files else ()


@cache
def _unpacked(files: tuple[Path, ...]) -> tuple[Path, ...]:
    """The wheels among the files that fit here, unpacked; gone with the process."""
    site = Path(tempfile.mkdtemp(prefix="tsd-wheels-"))
    atexit.register(shutil.rmtree, site, ignore_errors=True)
    fitting = frozenset(sys_tags())
    for file in files:
        try:
            tags = parse_wheel_filename(file.name)[3]
        except InvalidWheelFilename:
            continue
        if fitting & tags:
            with zipfile.ZipFile(file) as opened:
                opened.extractall(site)
    return (site, *site.glob("*.data/purelib"), *site.glob("*.data/platlib"))
