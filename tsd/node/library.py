"""The bundles of a node: unpacked where its processes look for them, fetched from the master when missing."""

import time
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.parse import quote

import attrs
import structlog
import trio

from tsd.assets.archive import Limits
from tsd.assets.folders import AssetFolders, Use
from tsd.core.messages import AssetAsk, AssetPart, AssetUnavailable
from tsd.errors import AssetError
from tsd.settings import Settings

ANSWER_WITHIN_S = 2.0
"""After so long a question is asked again."""
GIVE_UP_AFTER_S = 30.0
"""A fetch fails when the master has sent nothing for so long; it may have been restarted meanwhile."""

_log = structlog.get_logger()


@attrs.define(eq=False)
class _Fetch:
    """A transfer: the answers that have come, and which part is waited for."""

    answers: trio.MemorySendChannel[AssetPart | AssetUnavailable]
    offset: int = 0


@attrs.define(eq=False, kw_only=True)
class Library:
    """Has bundles unpacked.

    Attributes:
        node_id: Whose library it is.
        folders: Where they are unpacked.
        neighbours: The zips of the master, when it has the same data folder.
        limits: What they may unpack to.
        send: Sends a question to the master; what is lost is asked again.
    """

    node_id: str
    folders: AssetFolders
    neighbours: Path
    limits: Limits
    send: Callable[[AssetAsk], object]
    _uses: dict[str, list[Use]] = attrs.field(factory=dict, init=False)
    """By process; those that are about to be started have theirs too."""
    _locks: dict[str, trio.Lock] = attrs.field(factory=dict, init=False)
    _fetches: dict[str, _Fetch] = attrs.field(factory=dict, init=False)

    @classmethod
    def of(cls, settings: Settings, *, send: Callable[[AssetAsk], object]) -> "Library":
        """The library of a node with these settings."""
        return cls(
            node_id=settings.node_id,
            folders=AssetFolders(settings.teraslice.assets_directory),
            neighbours=settings.tsd.data_dir / "bundles",
            limits=Limits.of(settings.tsd.max_asset_size),
            send=send,
        )

    def sweep(self) -> None:
        """Remove what transfers have left that ended with an earlier start of this node. Blocks, hardly."""
        with suppress(OSError):
            for path in self.folders.root.glob(f".*.{quote(self.node_id, safe='')}.zip"):
                path.unlink(missing_ok=True)

    async def provide_for(self, proc_id: str, asset_ids: Iterable[str]) -> None:
        """Have bundles unpacked for a process; they stay until `release`, which has to follow also an error.

        Raises:
            AssetError: One can not be had; the message says why.
        """
        for asset_id in asset_ids:
            try:
                use = await trio.to_thread.run_sync(self.folders.use, asset_id)
            except OSError as error:
                raise AssetError(f"asset {asset_id} can not be unpacked on this node: {error}") from error
            self._uses.setdefault(proc_id, []).append(use)
            await self.provide(asset_id)

    def release(self, running: Container[str]) -> None:
        """Let go of what was provided for processes that are not among these."""
        for proc_id in [proc_id for proc_id in self._uses if proc_id not in running]:
            for use in self._uses.pop(proc_id):
                use.end()

    async def provide(self, asset_id: str) -> None:
        """Have a bundle unpacked. Whoever wants it meanwhile waits for the same work.

        Raises:
            AssetError: It can not be had; the message says why.
        """
        if self.folders.has(asset_id):
            return
        async with self._locks.setdefault(asset_id, trio.Lock()):
            if self.folders.has(asset_id):
                return
            began_at = time.monotonic()
            try:
                await self._provide(asset_id)
            except OSError as error:
                raise AssetError(f"asset {asset_id} can not be unpacked on this node: {error}") from error
            _log.info("asset.unpacked", asset_id=asset_id, elapsed_s=round(time.monotonic() - began_at, 3))

    async def _provide(self, asset_id: str) -> None:
        beside = self.neighbours / f"{asset_id}.zip"
        if beside.exists():
            await trio.to_thread.run_sync(self.folders.fill, asset_id, beside, self.limits)
            return
        self.folders.root.mkdir(parents=True, exist_ok=True)
        partial = self.folders.root / f".{asset_id}.{quote(self.node_id, safe='')}.zip"
        try:
            with partial.open("wb") as file:
                await self._fetch(asset_id, file)
            # The content is compared with the id before it is unpacked.
            await trio.to_thread.run_sync(self.folders.fill, asset_id, partial, self.limits)
        finally:
            partial.unlink(missing_ok=True)

    async def _fetch(self, asset_id: str, file: IO[bytes]) -> None:
        """Write the zip of a bundle into a file.

        Raises:
            AssetError: The master does not have it, or does not answer.
        """
        answers_in, answers = trio.open_memory_channel[AssetPart | AssetUnavailable](1)
        fetch = self._fetches[asset_id] = _Fetch(answers_in)
        try:
            while True:
                match await self._ask(asset_id, fetch.offset, answers):
                    case AssetUnavailable() as refusal:
                        raise AssetError(f"asset {asset_id}: {refusal.reason}")
                    case AssetPart() as part if part.offset == fetch.offset:
                        # First of all: an answer that comes twice is no longer waited for.
                        fetch.offset += len(part.data)
                        await trio.to_thread.run_sync(file.write, part.data)
                        if fetch.offset >= part.size_b:
                            await trio.to_thread.run_sync(file.flush)
                            return
                        if not part.data:
                            raise AssetError(f"asset {asset_id}: the master has less of it than it says")
        finally:
            del self._fetches[asset_id]

    async def _ask(
        self, asset_id: str, offset: int, answers: trio.MemoryReceiveChannel[AssetPart | AssetUnavailable]
    ) -> AssetPart | AssetUnavailable:
        give_up_at = trio.current_time() + GIVE_UP_AFTER_S
        while trio.current_time() < give_up_at:
            self.send(AssetAsk(asset_id=asset_id, offset=offset))
            with trio.move_on_after(ANSWER_WITHIN_S):
                return await answers.receive()
        raise AssetError(f"asset {asset_id}: the master has not sent it for {GIVE_UP_AFTER_S:g} s")

    def take(self, message: AssetPart | AssetUnavailable) -> None:
        """Take in an answer of the master; one that nobody waits for any more is dropped."""
        fetch = self._fetches.get(message.asset_id)
        if fetch is None or (isinstance(message, AssetPart) and message.offset != fetch.offset):
            return
        with suppress(trio.WouldBlock):
            fetch.answers.send_nowait(message)
