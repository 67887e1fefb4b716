"""Lines to systemd's journal with fields of their own: its native protocol, one datagram each.

Protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/. What can not go that way (a line longer than a
datagram, a journal that is away) is left to the caller, whose stderr reaches the journal too.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import attrs

SOCKET = Path("/run/systemd/journal/socket")


@attrs.frozen(eq=False)
class Journal:
    """The open socket to the journal; its reader adds pid, unit and host to what it gets."""

    _socket: socket.socket

    @classmethod
    def connect(cls) -> "Journal | None":
        """The journal of this host; None where none listens."""
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            sender.connect(str(SOCKET))
        except OSError:
            sender.close()
            return None
        return cls(sender)

    def send(self, fields: Mapping[str, str]) -> bool:
        """Whether the journal took an entry of these fields; names are upper-case words."""
        entry = b"".join(_field(name, value) for name, value in fields.items())
        try:
            self._socket.send(entry)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def is_journal(stream: IO[str]) -> bool:
    """Whether the stream is the one that systemd connected to its journal."""
    named = os.environ.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def _field(name: str, value: str) -> bytes:
    # Half a character, as JSON documents can have it, and what is not UTF-8 in names of files, as escapes.
    data = value.encode("utf-8", "backslashreplace")
    if b"\n" in data:
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return name.encode() + b"=" + data + b"\n"
