"""Turns for work that runs code of users: few at once, and those that take long stand aside.

More than a few checks at once only wait for the processor, so each takes one of `AT_ONCE` turns. A check that
hangs would keep its turn until its time is over, and some that hang would keep all others waiting; so a check
that has taken `PATIENCE_S` gives its turn back while it goes on. What goes on in all is bounded too.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from tsd.errors import NotReady

AT_ONCE = 2
PATIENCE_S = 2.0
"""Importing what a bundle brings may take longer; then one check more runs beside it."""
IN_ALL = 16
"""Checks that have begun and not ended. Each is a process of some 40 MB."""
WAIT_S = 30.0


@attrs.frozen(eq=False)
class Turns:
    """Hands out turns, in the order in which they are asked for."""

    _begun: trio.Semaphore = attrs.field(factory=lambda: trio.Semaphore(IN_ALL), init=False)
    _turns: trio.Semaphore = attrs.field(factory=lambda: trio.Semaphore(AT_ONCE), init=False)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a turn and keep it to the end of the block, or for `PATIENCE_S`.

        Raises:
            NotReady: None became free in `WAIT_S`.
        """
        with trio.move_on_after(WAIT_S) as waiting:
            await self._begun.acquire()
            try:
                await self._turns.acquire()
            except BaseException:
                self._begun.release()
                raise
        if waiting.cancelled_caught:
            raise NotReady("too many jobs are being checked whose checks take long, try again later")
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._give_back)
                try:
                    yield
                except Exception as error:  # noqa: BLE001 - to raise it bare, where a nursery makes a group
                    failure = error
                nursery.cancel_scope.cancel()
        finally:
            self._begun.release()
        if failure is not None:
            raise failure

    async def _give_back(self) -> None:
        try:
            await trio.sleep(PATIENCE_S)
        finally:
            self._turns.release()
