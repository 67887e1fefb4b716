"""What a node daemon and its fork server say to each other over their socket pair.

One message is one packet: its class name, a line feed, its MessagePack body. Both ends are the same
version of tsd on the same host, so there is nothing to negotiate.
"""

import os
from pathlib import Path
from typing import Any

import attrs
import msgspec

from tsd.core.messages import ProcessSpec
from tsd.settings import Settings

MAX_PACKET_B = 1 << 20
"""Room for one packet; most are a few hundred bytes, job environments make the large ones."""


@attrs.frozen(kw_only=True)
class Setup:
    """Node to server, first: what all children have in common. Later ones hold for the next children.

    Attributes:
        settings: The settings of this cluster.
        entries: Role to the `module:function` that a child of that role calls with its `ProcessSpec`, the
            settings and its `BlackBox`; the function returns the exit code.
        preload: Modules to import before the first fork; of later ones it is not looked at.
        node_id: Whose server it is.
    """

    settings: Settings
    entries: dict[str, str]
    preload: tuple[str, ...]
    node_id: str


@attrs.frozen(kw_only=True)
class Spawn:
    """Node to server: start this process. Answered by `Started` or `NotStarted`."""

    spec: ProcessSpec


@attrs.frozen(kw_only=True)
class Signal:
    """Node to server: send a signal to a process, or to it and all that it started.

    The server does it because it reaps: the pid can not be somebody else's by then. Nothing happens when the
    process has ended.
    """

    proc_id: str
    number: int
    with_descendants: bool = False


@attrs.frozen(kw_only=True)
class Ready:
    """Server to node: everything is imported."""

    pid: int


@attrs.frozen(kw_only=True)
class Started:
    """Server to node: the process runs."""

    proc_id: str
    pid: int


@attrs.frozen(kw_only=True)
class NotStarted:
    """Server to node: the system refused to fork (out of memory or processes)."""

    proc_id: str
    reason: str


@attrs.frozen(kw_only=True)
class Exited:
    """Server to node: the process ended; its process group is gone as well, and what it left is being ended.

    Attributes:
        running: Number of the slice that was in work, None when there was none.
        behind: Number of the slice that had ended last, when none was in work; also of one that was, when
            the loop of the process broke, which need not be the fault of that slice.
        doing: What it did that was no slice; empty when it was nothing special.
        was_frozen: Its loop had stood still for several beats when a signal ended it.
        detail: Its last words; empty when it had none.
    """

    proc_id: str
    pid: int
    exit_code: int | None
    signal: int | None
    running: int | None
    detail: str
    behind: int | None = None
    doing: str = ""
    was_frozen: bool = False


ToServer = Setup | Spawn | Signal
FromServer = Ready | Started | NotStarted | Exited
_KINDS: dict[str, type] = {
    kind.__name__: kind for kind in (Setup, Spawn, Signal, Ready, Started, NotStarted, Exited)
}


def _encode_other(value: Any) -> Any:
    if isinstance(value, Path):
        return os.fsencode(value)  # a file name is bytes, and not always UTF-8
    raise NotImplementedError(type(value).__name__)


def _decode_other(kind: type, value: Any) -> Any:
    if issubclass(kind, Path):
        return kind(os.fsdecode(value))
    raise NotImplementedError(kind.__name__)


def encode(message: ToServer | FromServer) -> bytes:
    """The packet of a message."""
    body = msgspec.msgpack.encode(message, enc_hook=_encode_other)
    return type(message).__name__.encode() + b"\n" + body


def decode(packet: bytes) -> ToServer | FromServer:
    """The message of a packet."""
    kind, _, body = packet.partition(b"\n")
    message: ToServer | FromServer = msgspec.msgpack.decode(
        body, type=_KINDS[kind.decode()], dec_hook=_decode_other
    )
    return message
