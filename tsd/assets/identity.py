"""The id of a bundle: SHA-1 over the base64 text of its zip, in hex.

Existing clients compute it and compare, so it can not be a better hash of the bytes themselves. It is made
while the bytes pass by; they are never all in memory. See docs/adr/0011-bundles-are-files.md.
"""

import base64
import hashlib
import re
from pathlib import Path

_ID = re.compile(r"[0-9a-f]{40}")
ID_LENGTH = 40
READ_B = 256 * 1024
"""How much of a file is read at once."""


class AssetDigest:
    """Takes the bytes of a zip in any pieces, and then says its id."""

    def __init__(self) -> None:
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._rest = b""

    def update(self, data: bytes) -> None:
        """Take in the next bytes."""
        data = self._rest + data
        # Base64 turns three bytes into four letters, so that pieces of whole threes can be joined.
        whole = len(data) - len(data) % 3
        self._rest = data[whole:]
        self._sha1.update(base64.b64encode(data[:whole]))

    def asset_id(self) -> str:
        """The id; nothing can be taken in after it."""
        self._sha1.update(base64.b64encode(self._rest))
        self._rest = b""
        return self._sha1.hexdigest()


def asset_id_of(path: Path) -> str:
    """The id of the zip in a file. Blocks."""
    digest = AssetDigest()
    with path.open("rb") as file:
        while data := file.read(READ_B):
            digest.update(data)
    return digest.asset_id()


def is_asset_id(text: str) -> bool:
    """Whether a text has the form of an id."""
    return _ID.fullmatch(text) is not None
