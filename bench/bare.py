"""A bare route of Quart-Trio on Hypercorn, to compare the API with: served until stdin ends."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart_trio import QuartTrio


@contextlib.contextmanager
def running_bare() -> Iterator[str]:
    """Serve it in a process of its own; its URL."""
    command = [sys.executable, "-m", "bench.bare"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


async def main() -> None:
    app = QuartTrio("bare")

    @app.get("/")
    async def bare() -> dict[str, str]:
        return {"status": "fine"}

    config = Config()
    config.bind = ["127.0.0.1:0"]
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(serve, app, config)
        print(url, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
