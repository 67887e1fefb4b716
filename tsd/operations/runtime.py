"""What a controller or worker process gives its operations to run with."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
import trio

from tsd.operations.context import OpContext
from tsd.operations.forked import HERE, leave
from tsd.settings import Settings


def make_context(
    settings: Settings,
    *,
    token: trio.lowlevel.TrioToken,
    process_id: str,
    execution: Mapping[str, Any],
    nursery: trio.Nursery,
) -> OpContext:
    """The context for user code in a thread of its own.

    Args:
        token: Of the loop that runs async user code.
        settings: For the connections.
        process_id: What operations see as the id of their worker.
        execution: The execution document.
        nursery: Runs what `spawn` is given; lives as long as the process.
    """

    def spawn(function: Callable[[], Awaitable[None]]) -> None:
        token.run_sync_soon(nursery.start_soon, function)

    def run_async(function: Callable[..., Any], *args: Any) -> Any:
        if HERE.is_child:
            leave()  # there is no loop here that could run it
        return trio.from_thread.run(function, *args, trio_token=token)

    return OpContext(
        execution=execution,
        worker_id=process_id,
        log=structlog.get_logger("tsd.operations"),
        connections=settings.terafoundation.connectors,
        data_path=settings.tsd.data_dir,
        run_async=run_async,
        spawn=spawn,
    )
