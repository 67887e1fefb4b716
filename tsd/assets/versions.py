"""Versions of bundles, and the ranges of them that jobs name.

Both are those of npm, because job files and manifests are: `1.2.3`, `^1.2.0`, `~1.2`, `1.*`, `>=1 <3`,
`1.x || 3.x`. A pre-release is taken only by a range that names one of the same version.
"""

import re

import attrs
from semantic_version import NpmSpec, Version

ANY = frozenset({"", "*", "latest"})
"""What stands for every version."""
LENGTH_MAX = 200
"""Of the text of a version or range; far longer than any that is meant."""

_V = re.compile(r"(?<![\w.+-])v(?=\d)")
_OPERATOR_BLANK = re.compile(r"([<>=^~]+)\s+")


def clean_version(text: str) -> str:
    """A version as it is stored: without a leading `v` or `=`, and without blanks around it.

    Raises:
        ValueError: It has not three numbers.
    """
    cleaned = re.sub(r"^[=v]+", "", text.strip()).strip()
    if len(cleaned) > LENGTH_MAX:
        raise ValueError("too long for a version")
    return str(Version(cleaned))


def precedence(version: str) -> Version:
    """What orders cleaned versions; builds of one version (`+…`) are told apart too."""
    return Version(version).precedence_key


@attrs.frozen
class VersionRange:
    """The versions that a text allows; make it with `parse`."""

    _exact: str | None
    _spec: NpmSpec | None

    @classmethod
    def parse(cls, text: str) -> "VersionRange":
        """Read a version, a range of npm, `latest` or `*`.

        Raises:
            ValueError: It is none of these.
        """
        text = text.strip()
        if len(text) > LENGTH_MAX:
            raise ValueError("too long for a range of versions")
        if text in ANY:
            return cls(None, NpmSpec("*"))
        try:
            return cls(clean_version(text), None)
        except ValueError:
            return cls(None, NpmSpec(_OPERATOR_BLANK.sub(r"\1", _V.sub("", text))))

    def allows(self, version: str) -> bool:
        """Whether a cleaned version is one of them."""
        if self._spec is None:
            return version == self._exact
        return bool(self._spec.match(Version(version)))
