"""routed_sender: sends each record where its route says, through any sender API."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import trio
from typing_extensions import override

from tsd.errors import OperationError
from tsd.operations import formats
from tsd.operations.apis import ApiRegistry
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.record import Record
from tsd.operations.standard.texts import text_of

ROUTE = "standard:route"
"""The name in the metadata under which routers put the route of a record."""
REST = "*"
ALL = "**"

_Batch = tuple[Any, str, list[Record]]
"""A sender, the route that is told to it, and records."""


def routes_of(routing: Mapping[str, str]) -> dict[str, str]:
    """The connection of each single route.

    Raises:
        ValueError: A route stands there twice, or both wildcards do.
    """
    routes: dict[str, str] = {}
    for names, connection in routing.items():
        for name in (part.strip() for part in names.split(",")):
            if not name:
                raise ValueError(f"{names!r} has an empty route")
            if name in routes:
                raise ValueError(f"route {name!r} stands there twice")
            routes[name] = connection
    if REST in routes and ALL in routes:
        raise ValueError("routing cannot specify both * and **")
    return routes


def _routing(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        raise ValueError("must be an object of routes and the connections that they go to")
    for connection in value.values():
        formats.required_string(connection)
    routes_of(value)
    return value


@attrs.define(kw_only=True)
class RoutedSenderConfig(OpConfig):
    """Options of routed_sender."""

    routing: dict[str, str] = opt(
        convert=_routing,
        doc="connection by route or routes, with commas between; `*`: all others, `**`: all, each told apart",
    )
    size: int = opt(10_000, convert=formats.positive_int, doc="records in one call of a sender at most")
    concurrency: int = opt(
        10, convert=formats.natural, doc="calls at once, of senders whose `send` is async; 0: one"
    )

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        if self.linked_api is None:
            yield "_api_name", "This field is required: the API whose senders take the records"


@operation("routed_sender", config=RoutedSenderConfig)
class RoutedSender(BatchProcessor):
    """Sends records by the route in their metadata (`standard:route`) and passes them on.

    The API that `_api_name` names makes one sender for each connection of `routing`. A sender has
    `send(records, route)`, and may have `verify(route)`, which is called once before the first records of a
    route, and refuses it with a ValueError. Routes that `routing` names, and all under `**`, have their own
    place in the destination, for a file_sender_api the folder `path/route/`; what falls under `*` goes to the
    destination itself. A record with no route that fits, or one that the sender refuses, is rejected; that
    is known before any is sent.
    """

    @override
    def initialize(self) -> None:
        self._routes = routes_of(self.config.routing)
        self._named = {name: to for name, to in self._routes.items() if name not in (REST, ALL)}
        clients = self.get_api()
        if not isinstance(clients, ApiRegistry):
            raise OperationError(
                f"{self.config.linked_api} makes no senders, so records can not be routed to it"
            )
        self._clients = clients
        # what the sender has against each route that it was asked about, or None
        self._faults: dict[str, str | None] = {}
        if ALL in self._routes:
            self._sender(self._routes[ALL])

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        batches = self._batches(records)
        if any(inspect.iscoroutinefunction(sender.send) for sender, _, _ in batches):
            self.ctx.run_async(self._send_async, batches)
        else:
            for sender, route, batch in batches:
                sender.send(batch, route)
        return records

    def _batches(self, records: list[Record]) -> list[_Batch]:
        """What to send: nothing is kept from here on, so an attempt that fails leaves nothing behind."""
        groups: dict[str, list[Record]] = {}
        for record in records:
            route = record.metadata.get(ROUTE)
            groups.setdefault("" if route is None else text_of(route), []).append(record)
        rest: list[Record] = []
        ready: list[_Batch] = []
        for route, group in groups.items():
            connection = self._named.get(route, self._routes.get(ALL))
            if route and connection is not None:
                ready += self._verified(connection, route, group)
            elif REST in self._routes:
                rest += group
            else:
                reason = f"no routing for route {route!r}" if route else "the record has no route"
                self._reject_all(group, reason)
        if rest:
            ready += self._verified(self._routes[REST], "", rest)
        size = self.config.size
        return [
            (sender, route, group[start : start + size])
            for sender, route, group in ready
            for start in range(0, len(group), size)
        ]

    def _verified(self, connection: str, route: str, group: list[Record]) -> list[_Batch]:
        """The group with its sender; nothing when the sender refuses the route."""
        sender = self._sender(connection)
        if route not in self._faults:
            self._faults[route] = self._verify(sender, route)
        fault = self._faults[route]
        if fault is None:
            return [(sender, route, group)]
        self._reject_all(group, fault)
        return []

    def _verify(self, sender: Any, route: str) -> str | None:
        """What the sender has against a route; what else goes wrong is raised, and asked again."""
        verify = getattr(sender, "verify", None)
        if verify is None:
            return None
        try:
            self.ctx.call(verify, route)
        except ValueError as error:
            return str(error)
        return None

    def _reject_all(self, records: list[Record], error: str) -> None:
        for record in records:
            self.reject(record, error)

    def _sender(self, connection: str) -> Any:
        """The sender of a connection, made when it is first needed."""
        sender = self._clients.get(connection)
        if sender is None:
            sender = self._clients.create(connection, {"connection": connection})
        if not callable(getattr(sender, "send", None)):
            raise OperationError(
                f"{self.config.linked_api} makes no senders, so records can not be routed to it"
            )
        return sender

    async def _send_async(self, batches: list[_Batch]) -> None:
        limiter = trio.CapacityLimiter(max(1, self.config.concurrency))

        async def send(sender: Any, route: str, batch: list[Record]) -> None:
            async with limiter:
                sent = sender.send(batch, route)
                if inspect.isawaitable(sent):
                    await sent

        try:
            async with trio.open_nursery() as nursery:
                for batch in batches:
                    nursery.start_soon(send, *batch)
        except ExceptionGroup as group:  # the first says whether another attempt can help
            raise group.exceptions[0] from group
