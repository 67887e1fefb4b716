"""The trio loop of a harness: where async methods of operations run, as in a worker."""

import contextlib
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import trio

_Result = tuple[Any, BaseException | None]


class HarnessLoop:
    """One trio loop in a thread of its own, started when the first async method is called.

    A test may itself run on a loop, trio's or another one: whoever calls `run` blocks until the result is
    there, and the two loops know nothing of each other.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None

    def run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Run an async function on the loop and wait for what it returns.

        Raises:
            BaseException: What the function raised.
        """
        self._start()
        assert self._token is not None, "it was started"
        assert self._nursery is not None, "it was started"
        results: queue.SimpleQueue[_Result] = queue.SimpleQueue()

        async def call() -> None:
            try:
                results.put((await function(*args), None))
            except trio.Cancelled:
                results.put((None, RuntimeError("the harness was closed")))
                raise
            except BaseException as error:  # noqa: BLE001  it is raised again in the thread that asked
                results.put((None, error))

        # Not trio.from_thread: it refuses a caller that is on a trio loop itself, as an async test is.
        self._token.run_sync_soon(self._nursery.start_soon, call)
        value, error = results.get()
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        """Cancel what still runs, and end the loop and its thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        assert self._token is not None, "it was started"
        assert self._nursery is not None, "it was started"
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._nursery.cancel_scope.cancel)
        thread.join()

    def _start(self) -> None:
        if self._thread is not None:
            return
        is_ready = threading.Event()
        self._thread = threading.Thread(
            target=trio.run, args=(self._live, is_ready), name="harness loop", daemon=True
        )
        self._thread.start()
        is_ready.wait()

    async def _live(self, is_ready: threading.Event) -> None:
        async with trio.open_nursery() as nursery:
            self._token, self._nursery = trio.lowlevel.current_trio_token(), nursery
            is_ready.set()
            await trio.sleep_forever()
