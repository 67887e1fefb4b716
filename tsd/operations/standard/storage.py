"""What the formats of files need of the place where files are: three small protocols.

Formats and slicing work on bytes and know nothing of a file system. `DiskStorage` is the implementation for
the local disk; what is written here is what another place for whole objects would have to offer.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import attrs


class DamagedError(Exception):
    """The content of a file is not what it should be, and no retry can help; tells why, without its name."""


@attrs.frozen
class Found:
    """A file that was found.

    Attributes:
        path: Names it in its storage.
        total_b: Its length when it was looked at.
        version: Tells this state of it from any other, as `tsd.operations.resuming` has it.
    """

    path: str
    total_b: int
    version: str


class StoredFile(Protocol):
    """An open file."""

    def verify(self, total_b: int, version: str) -> None:
        """Refuse a file that is not the one that was found with this length and version.

        One that was only appended to since is the same.

        Raises:
            SourceChanged: It is another one; the message names it, and says what differs.
            OperationError: It can not be read.
        """
        ...

    def read_at(self, offset_b: int, length_b: int) -> bytes:
        """Exactly these bytes.

        Raises:
            OperationError: The file ends before, or can not be read; the message names it.
        """
        ...

    def stream(self, total_b: int) -> Iterator[bytes]:
        """The first bytes of the file, in pieces of moderate length.

        Raises:
            OperationError: As in `read_at`.
        """
        ...


class Output(Protocol):
    """A place into which slices write whole objects, each slice its own."""

    def begin(self, ex_id: str, *, is_whole: bool, is_new: bool) -> None:
        """An execution begins to write here, or goes on: take away the mark that says that all is there.

        Args:
            ex_id: The execution.
            is_whole: It makes all of the output. Otherwise `complete` puts the mark back if it was there.
            is_new: It recovers nothing: what others agreed on is forgotten.

        Raises:
            OperationError: The place can not be written.
        """
        ...

    def agree(self, key: str, ex_id: str, words: list[str]) -> list[str]:
        """Words on which all slices of an execution and of its recoveries agree: those of the first to ask.

        Args:
            key: What they are about.
            ex_id: The execution.
            words: What they are if nothing was agreed yet; when they are empty nothing is.

        Raises:
            OperationError: The place can not be read or written.
        """
        ...

    def forget(self, ex_id: str, slice_ids: Collection[str]) -> None:
        """Remove all that attempts of these slices of an execution have committed.

        Args:
            ex_id: The execution; keys of its slices begin with it, then comes the id of the slice.
            slice_ids: Ids of slices that are none.

        Raises:
            OperationError: Something can not be removed.
        """
        ...

    def complete(self, ex_id: str, *, is_whole: bool) -> bool:
        """All slices of the execution are there: set the mark; False when there is no such place here.

        Args:
            ex_id: The execution.
            is_whole: As in `begin`.

        Raises:
            OperationError: The place can not be written.
        """
        ...

    def prepare(self) -> None:
        """Make the place, and finish or clear away what dead attempts left.

        Raises:
            OperationError: It can not be made or written.
        """
        ...

    def commit(self, key: str, files: Mapping[str, bytes], *, only_file: str | None = None) -> None:
        """Make these the objects of a slice, in place of all that earlier attempts of it left.

        A reader never sees half an object, and a commit that is run again after a crash ends the same.

        Args:
            key: Names the slice in this place.
            files: Content by path below the place; whole objects.
            only_file: The one path that this slice ever has; None when it may have any.

        Raises:
            OperationError: Another attempt of the slice is writing, or writing failed; then the attempt left
                nothing behind, and the message has the object.
        """
        ...


class Storage(Protocol):
    """Where files are."""

    def check(self, root: str) -> None:
        """Refuse a path that can not be read.

        Raises:
            OperationError: With the path and the reason.
        """
        ...

    def list(self, root: str) -> Iterator[str]:
        """The paths of the files below a path, or of the file itself, in the order of `place`.

        Raises:
            OperationError: Something can not be read; the message names it.
        """
        ...

    def place(self, root: str, path: str) -> Any:
        """Where a path stands in the list: places compare as the list is ordered.

        Raises:
            ValueError: It is not below `root`.
        """
        ...

    def find(self, path: str) -> Found | None:
        """What is there at a path now; None when it is gone.

        Raises:
            OperationError: It can not be read; the message names it.
        """
        ...

    def open(self, path: str) -> AbstractContextManager[StoredFile]:
        """Open a file for reading.

        Raises:
            OperationError: It can not be read; the message names it.
        """
        ...

    def output(self, root: str, *, is_durable: bool, sleep: Callable[[float], None]) -> Output:
        """A place to write into; nothing is touched yet.

        Args:
            root: Its path.
            is_durable: A commit outlives a power failure.
            sleep: How to wait for another attempt of the same slice.
        """
        ...
