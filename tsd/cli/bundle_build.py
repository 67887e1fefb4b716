"""Building a bundle from its folder: the zip, checked as a master would check it."""

import subprocess
import sys
import tempfile
from pathlib import Path

import attrs
import trio
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from tsd.assets import archive, code
from tsd.assets.archive import Limits
from tsd.assets.environment import this_environment
from tsd.assets.folders import AssetFolders
from tsd.assets.host import mismatches, this_host
from tsd.assets.identity import asset_id_of
from tsd.assets.manifest import FILE_NAME, read_manifest
from tsd.assets.source import is_source, write_zip
from tsd.assets.wheels import FOLDER, choose
from tsd.errors import AssetInvalid
from tsd.master.bundlecheck import record_of
from tsd.master.inspection import Offer, inspect

LIMITS = Limits.of(1024**3)
"""The master has limits of its own."""
BUILD_FOLDER = "build"


@attrs.frozen(kw_only=True)
class Built:
    """A bundle that was found good.

    Attributes:
        offers: What is in it; None when its code was not imported, with the reason in `note`.
        note: What its maker should know; may be empty.
    """

    path: Path
    asset_id: str
    name: str
    version: str
    size_b: int
    offers: tuple[Offer, ...] | None
    note: str = ""


def build(folder: Path, output: Path | None = None) -> Built:
    """Make the zip of a folder and check it. Blocks.

    Args:
        folder: With `asset.json`.
        output: Where the zip goes; `build/<name>-<version>.zip` in the folder by default.

    Raises:
        AssetInvalid: It is no good bundle; nothing is written then.
        OSError: Something can not be read or written.
    """
    if not is_source(folder):
        raise AssetInvalid(f"{folder} has no {FILE_NAME}: tsd assets init makes a folder with one")
    manifest = read_manifest((folder / FILE_NAME).read_bytes())
    target = output or folder / BUILD_FOLDER / f"{manifest.name}-{manifest.version}.zip"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.unchecked")
    try:
        write_zip(folder, partial)
        built = check(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return attrs.evolve(built, path=target)


def check(path: Path) -> Built:
    """Check a zip as a master would. Blocks.

    Raises:
        AssetInvalid: It is no good bundle.
        OSError: It can not be read, or not be unpacked.
    """
    contents = archive.check(path, LIMITS)
    asset_id = asset_id_of(path)
    record = record_of(contents, asset_id, path.stat().st_size)
    built = Built(
        path=path,
        asset_id=asset_id,
        name=record.name,
        version=record.version,
        size_b=record.size_b,
        offers=None,
    )
    if record.language != code.PYTHON:
        return attrs.evolve(built, note="it has no code of Python, so nothing was imported")
    if reasons := mismatches(record, this_host()):
        said = " and ".join(text for _, text in reasons)
        return attrs.evolve(built, note=f"its code was not imported: it {said}")
    choose(contents.wheels, contents.manifest.requirements(), this_environment())
    with tempfile.TemporaryDirectory(prefix="tsd-build-") as scratch:
        folders = AssetFolders(Path(scratch))
        folders.fill(asset_id, path, LIMITS)
        offers = trio.run(inspect, folders, asset_id)
    note = "" if offers else "there is no operation in it"
    if record.is_compiled and (record.python_version is None or record.platform is None):
        here = this_host()
        version = ".".join(str(number) for number in here.python[:2])
        note = (
            f"it has compiled modules: say in {FILE_NAME} where they run, as in"
            f' "python_version": "{version}", "platform": "{here.platform}", "arch": "{here.arch}"'
        )
    return attrs.evolve(built, offers=offers, note=note)


def collect_wheels(folder: Path, requirements: Path) -> list[str]:
    """Have pip put wheels of what a bundle needs into its folder `wheels`, in place of those that are there.

    What tsd itself is made of is left out, and stays at the versions that it has. Blocks, and may use the
    network.

    Args:
        folder: Of the bundle.
        requirements: For pip.

    Returns:
        The names of the wheels.

    Raises:
        AssetInvalid: pip has failed; the message is what it says.
        OSError: Files can not be written.
    """
    fixed = this_environment().fixed_all()
    with tempfile.TemporaryDirectory(prefix="tsd-wheels-") as scratch:
        constraints = Path(scratch, "constraints.txt")
        lines = [f"{name}=={version}" for name, version in fixed.items() if name != "tsd"]
        constraints.write_text("\n".join(lines) + "\n", encoding="utf-8")
        made = Path(scratch, "made")
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
        command += ["-w", str(made), "-c", str(constraints), "-r", str(requirements)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - it is pip
        if done.returncode != 0:
            raise AssetInvalid(f"pip can not collect the wheels: {done.stderr.strip()[-2000:]}")
        wheels = folder / FOLDER
        wheels.mkdir(exist_ok=True)
        for old in wheels.glob("*.whl"):
            old.unlink()
        names = []
        for file in sorted(made.glob("*.whl")):
            if _distribution(file.name) not in fixed:
                (wheels / file.name).write_bytes(file.read_bytes())
                names.append(file.name)
    return names


def _distribution(file: str) -> str:
    try:
        return str(parse_wheel_filename(file)[0])
    except InvalidWheelFilename as error:
        raise AssetInvalid(f"{file}: {error}") from error
