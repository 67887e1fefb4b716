"""What an endpoint counts, and which peers it has complained about."""

from collections.abc import Sequence

import attrs

from tsd.errors import LocalWireError
from tsd.mesh.codec import Codec
from tsd.mesh.endpoint import MeshStatistics, OnBadFrame, Sent

_REPORTED_PEERS_MAX = 1000
"""Peers beyond it are counted but not reported: names cost a hostile peer nothing."""


@attrs.define
class Tally:
    """The counters of one endpoint; see `MeshStatistics` for what each means."""

    on_bad_frame: OnBadFrame | None
    dropped: int = 0
    refused: int = 0
    nameless: int = 0
    _frames_in: int = 0
    _frames_out: int = 0
    _bytes_in: int = 0
    _bytes_out: int = 0
    _bad_frames: int = 0
    _unreachable: int = 0
    _full: int = 0
    _bad_of: dict[str, int] = attrs.field(factory=dict)

    def count_in(self, frames: Sequence[bytes]) -> None:
        """Count a message that was read, good or bad."""
        self._frames_in += 1
        self._bytes_in += sum(map(len, frames))

    def count_out(self, sent: Sent, frames: Sequence[bytes]) -> None:
        """Count what became of a message given to `send`."""
        match sent:
            case Sent.SENT:
                self._frames_out += 1
                self._bytes_out += sum(map(len, frames))
            case Sent.FULL:
                self._full += 1
            case Sent.UNREACHABLE:
                self._unreachable += 1

    def count_bad(self, peer: str, reason: str) -> None:
        """Count a bad frame; report it if it is the peer's first, 10th, 100th, ..."""
        self._bad_frames += 1
        count = self._bad_of.get(peer, 0) + 1
        if count == 1 and len(self._bad_of) >= _REPORTED_PEERS_MAX:
            return
        self._bad_of[peer] = count
        if self.on_bad_frame is not None and str(count).strip("0") == "1":
            self.on_bad_frame(peer, reason, count)

    def statistics(self, *, queued: int) -> MeshStatistics:
        """Return the counters as they are now, with what waits in the endpoint."""
        return MeshStatistics(
            frames_in=self._frames_in,
            frames_out=self._frames_out,
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_out,
            bad_frames=self._bad_frames,
            nameless=self.nameless,
            unreachable=self._unreachable,
            full=self._full,
            refused=self.refused,
            dropped=self.dropped,
            queued=queued,
        )


def encode_counted(codec: Codec, tally: Tally, message: object) -> list[bytes]:
    """Encode a message that is to be sent; count it if it can not be encoded.

    Raises:
        LocalWireError: As `Codec.encode` does.
    """
    try:
        return codec.encode(message)
    except LocalWireError:
        tally.refused += 1
        raise
