"""Zips of bundles on their way to nodes, piece by piece, as nodes ask for them.

A node has one question about a bundle on its way at a time, so there is little in memory however slow it is.
"""

from collections.abc import Callable

import attrs
import trio

from tsd.assets.identity import is_asset_id
from tsd.core.messages import AssetAsk, AssetPart, AssetUnavailable
from tsd.master.bundles import BundleFiles

PIECE_B = 512 * 1024
"""Bytes in one message: beats that wait behind it on the link are not noticeably late."""
READS_AT_ONCE = 8


@attrs.frozen(eq=False, kw_only=True)
class Handout:
    """Answers the questions of nodes.

    Attributes:
        bundles: The zips.
        answer: Sends an answer to a peer; what is lost is asked for again.
    """

    bundles: BundleFiles
    answer: Callable[[str, AssetPart | AssetUnavailable], object]
    _asking: set[tuple[str, str]] = attrs.field(factory=set, init=False)
    _limiter: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(READS_AT_ONCE), init=False
    )

    def take(self, peer: str, ask: AssetAsk, nursery: trio.Nursery) -> None:
        """Take in a question; one that is being answered is left alone.

        Args:
            peer: The node.
            ask: Its question.
            nursery: Of the caller; the answer is made in it.
        """
        key = (peer, ask.asset_id)
        if key not in self._asking:
            self._asking.add(key)
            nursery.start_soon(self._answer, peer, ask)

    async def _answer(self, peer: str, ask: AssetAsk) -> None:
        try:
            self.answer(peer, await self._piece(ask))
        finally:
            self._asking.discard((peer, ask.asset_id))

    async def _piece(self, ask: AssetAsk) -> AssetPart | AssetUnavailable:
        asset_id, offset = ask.asset_id, ask.offset
        if not is_asset_id(asset_id):
            return AssetUnavailable(asset_id=asset_id[:80], reason="this is no id of an asset")
        try:
            data, size_b = await trio.to_thread.run_sync(
                self.bundles.read, asset_id, offset, PIECE_B, limiter=self._limiter
            )
        except FileNotFoundError:
            return AssetUnavailable(asset_id=asset_id, reason="the master has no such asset")
        except OSError as error:
            return AssetUnavailable(asset_id=asset_id, reason=f"the master can not read it: {error}")
        return AssetPart(asset_id=asset_id, offset=offset, size_b=size_b, data=data)
