"""What wheels find where they are to be imported: a Python, a platform, and what is installed."""

import platform
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib import metadata

import attrs
from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, sys_tags
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version


@attrs.frozen(eq=False)
class Environment:
    """The Python that we are in.

    Attributes:
        tags: Those of wheels that it can import, best first.
    """

    tags: Sequence[Tag]
    _ranks: Mapping[Tag, int] = attrs.field(init=False)

    @_ranks.default
    def _rank_all(self) -> Mapping[Tag, int]:
        return {tag: rank for rank, tag in reversed(list(enumerate(self.tags)))}

    @property
    def python_version(self) -> str:
        """As in `3.11.7`."""
        return platform.python_version()

    def rank(self, tags: Collection[Tag]) -> int | None:
        """How well a wheel with these tags fits, 0 best; None when it does not."""
        return min((self._ranks[tag] for tag in tags if tag in self._ranks), default=None)

    def wanted(self) -> str:
        """What fits, for people."""
        return f"{self.tags[0]} or py3-none-any"

    def is_python(self, specifier: str) -> bool:
        """Whether a `Requires-Python` holds; one that can not be read restricts nothing, as with pip."""
        try:
            return SpecifierSet(specifier).contains(self.python_version, prereleases=True)
        except InvalidSpecifier:
            return True

    def applies(self, need: Requirement, extras: Collection[str]) -> bool:
        """Whether a requirement holds here and with these extras."""
        if need.marker is None:
            return True
        try:
            return any(need.marker.evaluate({"extra": extra}) for extra in extras or ("",))
        except (UndefinedEnvironmentName, InvalidVersion):
            return True

    def version(self, name: str) -> Version | None:
        """The installed version of a distribution, None when it is not there."""
        try:
            return Version(metadata.version(name))
        except (metadata.PackageNotFoundError, InvalidVersion, TypeError):
            return None

    def fixed(self, name: str) -> Version | None:
        """The version of a distribution that tsd itself is made of, None when it is none of these."""
        return self.version(name) if name in _of_tsd() else None

    def fixed_all(self) -> dict[str, Version]:
        """All of these, by name."""
        return {name: version for name in sorted(_of_tsd()) if (version := self.version(name)) is not None}

    def needs(self, name: str) -> list[Requirement]:
        """What an installed distribution needs."""
        found = []
        for text in metadata.requires(name) or ():
            try:
                found.append(Requirement(text))
            except InvalidRequirement:
                continue
        return found


@cache
def _of_tsd() -> frozenset[str]:
    """What tsd needs, and what that needs; everything that is installed when tsd itself is not."""
    try:
        metadata.version("tsd")
    except metadata.PackageNotFoundError:
        return frozenset(canonicalize_name(one.metadata["Name"]) for one in metadata.distributions())
    found: set[str] = set()
    waiting = ["tsd"]
    environment = this_environment()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found and environment.version(name) is not None:
            found.add(name)
            waiting += [need.name for need in environment.needs(name) if environment.applies(need, ())]
    return frozenset(found)


@cache
def this_environment() -> Environment:
    """The one that we are in."""
    return Environment(tuple(sys_tags()))
