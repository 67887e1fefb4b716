"""Going on where an earlier run stood: what a request says of its source, for every kind of reader.

A slicer that goes on after an earlier run has one thing in hand: the request of its last recorded slice
(`SlicerBase.last_slice`). Whatever was recorded and not completed runs again by its own request. So a request
has to answer three questions by itself, and `Origin` is where it answers them:

* **Is it the same thing?** `version` tells one state of an object from another: for a file its inode, time of
  modification and a sample of its content, for an object store an ETag, for a table what its schema and
  its snapshot are called. A slicer compares it before it goes on within the object, a fetcher when it has
  opened it and again when it has read it.
* **Which came before?** `passed` says how many objects the slicer went past before this one, and a digest
  of their names. When these are others now, something would be skipped or read twice.
* **Is it cut in the same way?** `options` are those that decide where records begin and end. Others, such
  as the size of slices, may change between two runs.

The range within the object (offset and length, or the bounds of a watermark) is the reader's own.

Rules, which hold for a recovered execution and for a controller that takes over from another one:

1. The next slice begins at the end of the last recorded one. No place is ever computed anew.
2. An object is read as it was when its first slice was made, up to the length that it had then: that length
   is in every request, and a slicer that goes on takes it from there.
3. What cannot be continued like this raises `CannotResume`, what cannot be read `SourceChanged`; nothing is
   guessed.
4. A request without an origin was made by another program or an older one: a fetcher reads it as it says, a
   slicer does not go on after it.

A bundle's slicer may use all of this or none: `last_slice` alone is enough for input that never changes.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Self

import attrs

from tsd.errors import CannotResume

ORIGIN_KEY = "source"
"""Under this key a request has its origin."""
_MODULUS = 1 << 64


@attrs.frozen(kw_only=True)
class Origin:
    """What a request says of its source.

    Attributes:
        version: Tells the state of the object from any other; opaque but for the storage that made it.
        passed: `Passed.text` as it was before this object.
        options: Options that decide where records begin and end, by name; those at their defaults may be left
            out.
    """

    version: str
    passed: str
    options: Mapping[str, Any]

    def as_document(self) -> dict[str, Any]:
        """What the request has under `ORIGIN_KEY`."""
        return {"version": self.version, "passed": self.passed, "options": dict(self.options)}

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Self | None:
        """The origin in a request; None when it has none, or one that cannot be understood."""
        document = request.get(ORIGIN_KEY)
        if not isinstance(document, Mapping):
            return None
        version, passed, options = (document.get(name) for name in ("version", "passed", "options"))
        if isinstance(version, str) and isinstance(passed, str) and isinstance(options, Mapping):
            return cls(version=version, passed=passed, options=options)
        return None

    @classmethod
    def of_last(cls, request: Mapping[str, Any]) -> Self:
        """The origin of the last recorded request.

        Raises:
            CannotResume: It has none.
        """
        origin = cls.of(request)
        if origin is None:
            raise CannotResume(
                "the last slice was recorded by an earlier version of tsd and does not say which state of "
                "its source it was cut from"
            )
        return origin

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse to go on with other options.

        Raises:
            CannotResume: Some of them have changed; the message names each with both values.
        """
        names = [
            name for name in sorted({*self.options, *options}) if self.options.get(name) != options.get(name)
        ]
        if names:
            changes = ", ".join(
                f"{name} (it was {_shown(self.options.get(name))}, and is {_shown(options.get(name))})"
                for name in names
            )
            raise CannotResume(f"options that say where records begin and end have changed: {changes}")


def version_of(request: Mapping[str, Any]) -> str:
    """The version in the origin of a request; empty when it has none."""
    document = request.get(ORIGIN_KEY)
    version = document.get("version") if isinstance(document, dict) else None
    return version if isinstance(version, str) else ""


def _shown(value: Any) -> str:
    return "not set" if value is None else repr(value) if isinstance(value, str) else str(value).lower()


class Passed:
    """The names that a slicer has gone past, as a count and a digest: a few bytes for any number of them."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = 0

    @property
    def text(self) -> str:
        """What `Origin.passed` holds."""
        return f"{self._count}-{self._sum:x}"

    def add(self, name: str) -> None:
        """Go past a name."""
        self._count += 1
        self._sum = (self._sum + _hash(name)) % _MODULUS

    def check(self, then: str, here: str) -> None:
        """Refuse to go on when others were passed in the earlier run.

        Args:
            then: `text` of the earlier run, when it stood at the same place.
            here: The place, for people.

        Raises:
            CannotResume: They were others.
        """
        if then != self.text:
            count = then.partition("-")[0]
            raise CannotResume(
                f"what stands before {here} is not what was read: {count} when it was reached, {self._count} "
                "now, so something has come, gone or been renamed there"
            )


def _hash(name: str) -> int:
    """A number of 64 bits. Their sum does not depend on the order, and shows a name that is one too many."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big")
