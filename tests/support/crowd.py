"""Clients of the API that fire at the same moment, each over a connection of its own."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from tests.support.daemons import Cluster

T = TypeVar("T")
Request = tuple[str, str] | tuple[str, str, dict[str, Any]]
"""Method, path, and a body where there is one."""


class Crowd:
    """A number of clients. What they do at once is jittered from a seed, so that every order occurs."""

    def __init__(self, clients: list[httpx.Client], seed: int) -> None:
        self.rng = random.Random(seed)
        self._clients = clients
        self._pool = ThreadPoolExecutor(len(clients))

    def fire(self, *requests: Request, within_ms: float = 6.0) -> list[httpx.Response]:
        """Send one request a client at once, each up to `within_ms` late; the answers in order."""

        def sending(method: str, path: str, *body: Any) -> Callable[[httpx.Client], httpx.Response]:
            return lambda client: client.request(method, path, **({"json": body[0]} if body else {}))

        return self.run(*(sending(*request) for request in requests), within_ms=within_ms)

    def run(self, *acts: Callable[[httpx.Client], T], within_ms: float = 6.0) -> list[T]:
        """The same with functions that are given a client each; what they returned, in order."""
        barrier = threading.Barrier(len(acts))
        delays = [self.rng.choice([0.0, self.rng.uniform(0, within_ms)]) / 1000 for _ in acts]

        def begin(client: httpx.Client, act: Callable[[httpx.Client], T], delay_s: float) -> T:
            barrier.wait(10)
            time.sleep(delay_s)
            return act(client)

        futures = [
            self._pool.submit(begin, client, act, delay_s)
            for client, act, delay_s in zip(self._clients, acts, delays, strict=False)
        ]
        return [future.result(60) for future in futures]

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown()


@contextmanager
def crowd_of(cluster: Cluster, size: int, *, seed: int) -> Iterator[Crowd]:
    """Clients of a cluster; their connections are open before they fire."""
    clients = [cluster.client() for _ in range(size)]
    crowd = Crowd(clients, seed)
    try:
        yield crowd
    finally:
        crowd.close()
        for client in clients:
            client.close()
