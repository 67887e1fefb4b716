"""Wheels in a bundle: the libraries that its operations need, in `wheels/*.whl`.

They are unpacked into `site` beside the operations, from the bundle alone: no index, no build, no network. A
wheel is data here; nothing of it runs until an operation imports it. See docs/adr/0017-wheels-in-bundles.md.
"""

import base64
import contextlib
import csv
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import IO, Final

import attrs
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from tsd.assets.code import is_compiled
from tsd.assets.environment import Environment, this_environment
from tsd.assets.zips import Budget, NotAZip, Zip, open_zip
from tsd.errors import AssetInvalid

FOLDER: Final = "wheels"

_METADATA_B_MAX = 8 * 1024 * 1024
"""Of one of the files that describe a wheel; they are kept in memory."""
_SOURCES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip", ".egg")
_HASHES = ("sha256", "sha384", "sha512")
_SCHEMES = {"purelib", "platlib"}
"""Folders of `<name>.data` whose content is imported; scripts, headers and data have no place here."""
_UNLISTED = ("RECORD", "RECORD.jws", "RECORD.p7s")
"""Files of `<name>.dist-info` that `RECORD` can not have the hash of."""

File = tuple[str | None, Iterator[bytes]]
"""Where a file of a wheel goes in `site`, None when it does not, and its bytes."""


@attrs.frozen(kw_only=True)
class Wheel:
    """What a wheel says of itself.

    Attributes:
        file: Its path in the bundle.
        name: Of the distribution, in its canonical form.
        places: Paths in `site` of what it brings.
    """

    file: str
    name: str
    version: Version
    tags: frozenset[Tag]
    requires: tuple[Requirement, ...] = ()
    requires_python: str = ""
    places: frozenset[str] = frozenset()

    @property
    def is_compiled(self) -> bool:
        """Whether not every Python and platform can use it."""
        return is_compiled(self.places) or not any(tag.platform == "any" for tag in self.tags)


def is_wheel(name: str) -> bool:
    """Whether a file of a bundle is one of its wheels."""
    folder, _, file = name.partition("/")
    return folder == FOLDER and "/" not in file and file.endswith(".whl")


def check_folder(files: Sequence[str]) -> None:
    """Refuse what would have to be built before it can be imported.

    Raises:
        AssetInvalid: A file of the folder is the source of a distribution.
    """
    for name in files:
        if name.startswith(f"{FOLDER}/") and name.endswith(_SOURCES):
            raise AssetInvalid(
                f"{name[:200]} is no wheel, and nothing is built here: make one of it with pip wheel"
            )


# --- one wheel ----------------------------------------------------------------------------------


@attrs.frozen(eq=False, kw_only=True)
class OpenWheel:
    """A wheel that can be read; make it with `open_wheel`."""

    wheel: Wheel
    _opened: Zip
    _record: Mapping[str, tuple[str, str]]
    _data: str

    def contents(self) -> Iterator[File]:
        """All of its files; their hashes are checked while they are read, so read them to their ends.

        Raises:
            AssetInvalid: A file is not what the wheel says.
        """
        for name in self._opened.files:
            yield _place(name, self._data), self._chunks(name)

    def _chunks(self, name: str) -> Iterator[bytes]:
        method, wanted = self._record.get(name, ("sha256", ""))
        digest = hashlib.new(method)
        try:
            for chunk in self._opened.chunks(name):
                digest.update(chunk)
                yield chunk
        except AssetInvalid as error:
            raise AssetInvalid(f"{self.wheel.file}: {error}") from error
        if wanted and base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=") != wanted:
            raise AssetInvalid(f"{self.wheel.file}: {name[:200]} is damaged, RECORD has another hash for it")


@contextlib.contextmanager
def open_wheel(name: str, file: IO[bytes], budget: Budget) -> Iterator[OpenWheel]:
    """Open a wheel and read what it says of itself.

    Args:
        name: Its path in the bundle.
        file: Its bytes.
        budget: What may come out of it.

    Raises:
        AssetInvalid: It is no good wheel; the message names it.
    """
    with contextlib.ExitStack() as stack:
        try:
            found = _described(name, stack.enter_context(open_zip(file, budget)))
        except NotAZip as error:
            raise AssetInvalid(f"{name[:200]} is no zip, which a wheel has to be: {error}") from error
        except (AssetInvalid, InvalidWheelFilename, InvalidRequirement, InvalidVersion, ValueError) as error:
            raise AssetInvalid(f"{name[:200]} is no good wheel: {error}") from error
        yield found


def _described(file: str, opened: Zip) -> OpenWheel:
    name, version, _, tags = parse_wheel_filename(file.rpartition("/")[2])
    folder = _info_folder(opened, name, version)
    facts = _facts(opened, folder, name, version)
    data = folder.removesuffix(".dist-info") + ".data"
    places = (_place(path, data) for path in opened.files)
    wheel = Wheel(
        file=file,
        name=name,
        version=version,
        tags=tags,
        requires=tuple(Requirement(str(text)) for text in facts.get_all("Requires-Dist", ())),
        requires_python=str(facts.get("Requires-Python", "")),
        places=frozenset(place for place in places if place is not None),
    )
    return OpenWheel(wheel=wheel, opened=opened, record=_record_of(opened, folder), data=data)


def _facts(opened: Zip, folder: str, name: str, version: Version) -> Message:
    """The metadata of the distribution, which is this one."""
    about = BytesHeaderParser().parsebytes(opened.content(f"{folder}/WHEEL", _METADATA_B_MAX))
    if not str(about.get("Wheel-Version", "")).startswith("1."):
        raise ValueError("it has no Wheel-Version that is read here")
    facts = BytesHeaderParser().parsebytes(opened.content(f"{folder}/METADATA", _METADATA_B_MAX))
    if (canonicalize_name(str(facts["Name"])), Version(str(facts["Version"]))) != (name, version):
        raise ValueError("its METADATA are of another distribution")
    return facts


def _info_folder(opened: Zip, name: str, version: Version) -> str:
    folders = {path.partition("/")[0] for path in opened.files if ".dist-info/" in path}
    found = [folder for folder in folders if folder.endswith(".dist-info")]
    if len(found) != 1:
        raise ValueError("it has not exactly one folder .dist-info")
    (folder,) = found
    said, _, said_version = folder.removesuffix(".dist-info").rpartition("-")
    if canonicalize_name(said) != name or Version(said_version) != version:
        raise ValueError(f"its folder {folder[:100]} is of another distribution")
    for needed in ("METADATA", "WHEEL", "RECORD"):
        if f"{folder}/{needed}" not in opened.files:
            raise ValueError(f"it has no {folder}/{needed}")
    return folder


def _record_of(opened: Zip, folder: str) -> dict[str, tuple[str, str]]:
    """Hash of each file of the wheel: (method, text)."""
    text = opened.content(f"{folder}/RECORD", _METADATA_B_MAX).decode()
    unlisted = {f"{folder}/{name}" for name in _UNLISTED}
    found = {}
    for row in csv.reader(text.splitlines()):
        if len(row) < 2 or row[0] in unlisted:
            continue
        method, _, digest = row[1].partition("=")
        if method not in _HASHES:
            raise ValueError(f"RECORD has no safe hash of {row[0][:200]}")
        found[row[0]] = (method, digest.rstrip("="))
    files = set(opened.files) - unlisted
    if odd := sorted(files ^ found.keys()):
        raise ValueError(f"RECORD and the content differ in {odd[0][:200]}")
    return found


def _place(name: str, data: str) -> str | None:
    """Where a file of a wheel goes in `site`."""
    if not name.startswith(f"{data}/"):
        return name
    scheme, _, rest = name.removeprefix(f"{data}/").partition("/")
    return rest if scheme in _SCHEMES and rest else None


# --- all wheels of a bundle ---------------------------------------------------------------------


@contextlib.contextmanager
def open_wheels(folder: Path, names: Sequence[str], budget: Budget) -> Iterator[tuple[OpenWheel, ...]]:
    """Open the wheels of an unpacked bundle; raises as `open_wheel`."""
    with contextlib.ExitStack() as stack:
        yield tuple(
            stack.enter_context(open_wheel(name, stack.enter_context((folder / name).open("rb")), budget))
            for name in names
        )


def site_of(
    found: Sequence[OpenWheel], requirements: Sequence[Requirement]
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """What is to be in `site` here: paths, and bytes that have to be read to their ends.

    Raises:
        AssetInvalid: The wheels do not fit here, or something is missing.
    """
    chosen = choose([one.wheel for one in found], requirements, this_environment())
    for one in found:
        if one.wheel in chosen:
            for place, chunks in one.contents():
                if place is not None:
                    yield place, chunks


def choose(
    wheels: Sequence[Wheel], requirements: Sequence[Requirement], environment: Environment
) -> list[Wheel]:
    """The wheels that are for an environment, one of each distribution.

    Args:
        wheels: All of the bundle.
        requirements: What the bundle says that it needs.
        environment: Where it is to run.

    Raises:
        AssetInvalid: A distribution has no wheel that fits, comes in two versions, is there in another
            version already, or something that is needed is neither among them nor there.
    """
    by_name: dict[str, list[Wheel]] = {}
    for wheel in wheels:
        by_name.setdefault(wheel.name, []).append(wheel)
    chosen = {name: _best(group, environment) for name, group in by_name.items()}
    _check_apart(list(chosen.values()))
    for wheel in chosen.values():
        there = environment.fixed(wheel.name)
        if there is not None and there != wheel.version:
            raise AssetInvalid(
                f"{wheel.file} brings {wheel.name} {wheel.version}, but tsd runs with {there}: take"
                f" the wheel out, or have {there} in it"
            )
    _check_needs(chosen, requirements, environment)
    return list(chosen.values())


def _best(group: list[Wheel], environment: Environment) -> Wheel:
    first = group[0]
    if others := [wheel for wheel in group if wheel.version != first.version]:
        raise AssetInvalid(f"{first.file} and {others[0].file} are two versions of {first.name}: keep one")
    ranks = {wheel.file: environment.rank(wheel.tags) for wheel in group}
    fitting = [wheel for wheel in group if ranks[wheel.file] is not None]
    if not fitting:
        names = " and ".join(wheel.file for wheel in group)
        verb = "does" if len(group) == 1 else "do"
        raise AssetInvalid(f"{names} {verb} not fit here: a wheel for {environment.wanted()} would")
    best = min(fitting, key=lambda wheel: ranks[wheel.file] or 0)
    if not environment.is_python(best.requires_python):
        raise AssetInvalid(
            f"{best.file} needs Python {best.requires_python}, this is {environment.python_version}"
        )
    return best


def _check_apart(chosen: list[Wheel]) -> None:
    """Refuse wheels that bring the same file."""
    owners: dict[str, str] = {}
    for wheel in chosen:
        for place in sorted(wheel.places):
            if (other := owners.setdefault(place, wheel.file)) != wheel.file:
                raise AssetInvalid(f"{other} and {wheel.file} both bring {place[:200]}")


def _check_needs(
    chosen: Mapping[str, Wheel], requirements: Sequence[Requirement], environment: Environment
) -> None:
    """Follow what each wheel needs."""
    waiting = [(requirement, "asset.json", frozenset[str]()) for requirement in requirements]
    waiting += [(need, wheel.file, frozenset()) for wheel in chosen.values() for need in wheel.requires]
    seen = set()
    while waiting:
        need, who, extras = waiting.pop()
        name = canonicalize_name(need.name)
        if not environment.applies(need, extras) or (key := (str(need), extras)) in seen:
            continue
        seen.add(key)
        wheel = chosen.get(name)
        version = environment.version(name) if wheel is None else wheel.version
        if version is None or not need.specifier.contains(version, prereleases=True):
            there = "" if version is None else f", there is {version}"
            raise AssetInvalid(
                f"{who} needs {_shown(need)}, which neither the bundle brings nor tsd has{there}: put its"
                f" wheel into {FOLDER}"
            )
        if need.extras:
            further = environment.needs(name) if wheel is None else wheel.requires
            about = name if wheel is None else wheel.file
            waiting += [
                (one, f"{about}[{','.join(sorted(need.extras))}]", frozenset(need.extras)) for one in further
            ]


def _shown(need: Requirement) -> str:
    return re.sub(r"\s*;.*", "", str(need))
