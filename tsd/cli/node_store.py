"""The nodes of a cluster, as the command line sees them."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import attrs

from tsd.cli import exit_codes
from tsd.cli.client import MasterClient, MasterUnreachable
from tsd.cli.interrupts import asked_to_stop, held_signals

Document = dict[str, Any]

LOOK_EVERY_S = 0.5


@attrs.frozen
class NodeStore:
    """Requests about nodes. All methods raise `ApiError` and `MasterUnreachable`."""

    client: MasterClient

    def find(self) -> list[Document]:
        """All nodes by id, also those that are away and to be drained."""
        return list(self.client.get("/v1/cluster/nodes"))

    def one(self, node_id: str) -> Document:
        """A node, and what there is of room in the cluster."""
        return dict(self.client.get(_path(node_id)))

    def drain(self, node_id: str, *, timeout: str | None = None) -> Document:
        """Let nothing run on a node; how it is now. `timeout` is a duration, None for no limit."""
        query = {"blocking": "false"} | ({} if timeout is None else {"timeout": timeout})
        return dict(self.client.post(f"{_path(node_id)}/_drain?{urlencode(query)}"))

    def undrain(self, node_id: str) -> Document:
        """Use a node again; how it is now."""
        return dict(self.client.post(f"{_path(node_id)}/_undrain"))


def _path(node_id: str) -> str:
    return f"/v1/cluster/nodes/{quote(node_id, safe='')}"


@attrs.define
class Draining:
    """Shows how a node becomes empty; says each thing once."""

    store: NodeStore
    node_id: str
    say: Callable[[str], None]
    _said: str = attrs.field(default="", init=False)
    _left: int = attrs.field(default=0, init=False)

    def show(self, node: Document) -> None:
        """Say how it is, if that is news."""
        self._left = node["processes"]
        self._tell(f"{self.node_id}: {describe(node)}")

    def run(self, *, timeout: str | None, waits: bool) -> int:
        """Drain the node, and wait until nothing runs there, somebody undrains it, or Ctrl-C; the exit code.

        A master that is started again meanwhile goes on with it, so one that does not answer is waited for.
        """
        with held_signals():
            node: Document | None = self.store.drain(self.node_id, timeout=timeout)
            while True:
                if node is not None:
                    self.show(node)
                    if "drain_since" not in node:
                        return exit_codes.FAILED
                    if not (node["processes"] and waits):
                        return exit_codes.OK
                if asked_to_stop(LOOK_EVERY_S):
                    self.say(
                        f"{self.node_id} goes on to be drained, {_processes(self._left)} left;"
                        f" `tsd undrain {self.node_id}` takes that back"
                    )
                    return exit_codes.STOPPED
                node = self._look()

    def _look(self) -> Document | None:
        """How the node is now; None when the master does not answer."""
        try:
            return self.store.one(self.node_id)
        except MasterUnreachable as error:
            self._tell(f"{error}; what was wished is stored, waiting for it")
            return None

    def _tell(self, words: str) -> None:
        if words != self._said:
            self._said = words
            self.say(words)


def describe(node: Document) -> str:
    """How far the drain of a node is, in words."""
    if "drain_since" not in node:
        return "somebody uses it again"
    return "; ".join([_how_far(node), *_stays(node["staying"]), *_waits(node["waiting"])])


def _how_far(node: Document) -> str:
    is_away = node["state"] == "disconnected"
    if not node["processes"]:
        return "away, nothing is known to run there" if is_away else "drained"
    return f"{_processes(node['processes'])} left{', but the node is away' if is_away else ''}"


def _stays(ex_ids: list[str]) -> list[str]:
    return [f"{ex_id} stays until it ends, its slicer is not recoverable" for ex_id in ex_ids]


def _waits(waiting: list[Document]) -> list[str]:
    if not waiting:
        return []
    count = "1 execution waits" if len(waiting) == 1 else f"{len(waiting)} executions wait, the first"
    return [f"{count}: {waiting[0]['ex_id']} {waiting[0]['reason']}"]


def _processes(count: int) -> str:
    return f"{count} process{'es' if count != 1 else ''}"
