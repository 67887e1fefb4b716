"""What a reader could not make a record of: bytes of a file, and where they stand."""

from typing import Any


class Fragment(bytes):
    """Bytes that are no record, as they stand in their source.

    Attributes:
        metadata: Where they come from, as JSON: for files the `path` and slice, `byte_offset` and `line`.
    """

    metadata: dict[str, Any]

    @classmethod
    def of(cls, data: bytes, metadata: dict[str, Any]) -> "Fragment":
        """Bytes with their place."""
        fragment = cls(data)
        fragment.metadata = metadata
        return fragment

    def text(self) -> str | None:
        """The bytes as text; None when they are no UTF-8."""
        try:
            return self.decode()
        except UnicodeDecodeError:
            return None
