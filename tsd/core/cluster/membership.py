"""The nodes of the cluster: what each was told to run, what it says it runs, how many slots are free.

A slot counts as taken from the moment at which a process is placed on it until the node has said that
the process is gone. So the processes that really run on a node never outnumber its slots, whichever
messages are lost or late.
"""

import math
from collections.abc import Iterable, Iterator, Mapping

import attrs

from tsd.core.cluster.leases import Link
from tsd.core.cluster.records import Drain
from tsd.core.messages import NodeHello, NodeWanted, ProcessExit, ProcessReport, ProcessSpec
from tsd.core.records import ProcessRole


@attrs.define(kw_only=True)
class Placement:
    """One process on one node, from the decision to run it until the node no longer reports it.

    Attributes:
        spec: What to run; None for one that the node runs and nobody wants.
        sent_in: Revision of the first `NodeWanted` that had it, None when it was in none yet.
        ends_at: Drain it until then, None when it is to run on or is killed.
        is_killed: The node is to kill it at once.
        number: Its number in the state of the node.
    """

    proc_id: str
    ex_id: str
    job_id: str
    role: ProcessRole
    number: int
    spec: ProcessSpec | None = None
    sent_in: int | None = None
    ends_at: float | None = None
    is_killed: bool = False
    pid: int = 0
    is_reported: bool = False

    @property
    def is_wanted(self) -> bool:
        """It is to run on."""
        return self.ends_at is None and not self.is_killed


@attrs.define(kw_only=True)
class Node:
    """One node daemon.

    Attributes:
        held: (ex_id, worker number) of workers that will be started here once their controller is up.
        is_draining: It ends what it runs and leaves.
        drain: An operator wants nothing to run on it.
        has_told_drained: It was told that nothing runs there since.
        is_stale: It has to be sent a `NodeWanted`.
        config: Stands for the cluster file that it has read.
        labels: Those that its settings give it.
        contender: Peer and first hello of another process that has the same node id.
    """

    node_id: str
    link: Link
    hostname: str
    pid: int
    version: str
    python: str
    slots: int
    revision: int
    placements: dict[str, Placement] = attrs.field(factory=dict)
    held: set[tuple[str, int]] = attrs.field(factory=set)
    is_draining: bool = False
    drain: Drain | None = None
    has_told_drained: bool = False
    is_stale: bool = True
    sent_at: float = 0.0
    exits_seen: tuple[str, ...] = ()
    contender: tuple[str, float] | None = None
    numbers: int = 0
    config: str = ""
    labels: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def free(self) -> int:
        """Slots on which nothing runs or is to run; below 0 when the node runs too much."""
        return self.slots - len(self.placements) - len(self.held)

    @property
    def takes_work(self) -> bool:
        """Something may be placed on it."""
        return self.link.is_reachable and not self.is_to_be_empty

    @property
    def is_to_be_empty(self) -> bool:
        """What it runs is to end and go on elsewhere."""
        return self.is_draining or self.drain is not None

    @property
    def is_drained(self) -> bool:
        """An operator wants nothing to run on it, and nothing does."""
        return self.drain is not None and not self.placements

    @property
    def has_controller(self) -> bool:
        """One of its processes is a controller."""
        return any(each.role is ProcessRole.CONTROLLER for each in self.placements.values())

    def next_wanted(self, now: float) -> NodeWanted:
        """The list under a new revision; they follow the clock, so they grow over a restart of the master."""
        self.revision = max(self.revision + 1, int(now * 1000))
        self.is_stale = False
        self.sent_at = now
        processes = []
        endings = {}
        for placement in self.placements.values():
            if placement.ends_at is not None and not placement.is_killed:
                endings[placement.proc_id] = max(0.0, placement.ends_at - now)
            elif placement.is_wanted and placement.spec is not None:
                processes.append(placement.spec)
                if placement.sent_in is None:
                    placement.sent_in = self.revision
        return NodeWanted(
            revision=self.revision,
            processes=tuple(processes),
            endings=endings,
            exits_seen=self.exits_seen,
        )

    def next_number(self) -> int:
        """A number for one more process in the state of this node."""
        self.numbers += 1
        return self.numbers


@attrs.define(kw_only=True)
class Members:
    """All nodes that are connected or whose return is waited for.

    Attributes:
        drains: What operators want of nodes, also of those that are not here.
    """

    drains: dict[str, Drain] = attrs.field(factory=dict)
    nodes: dict[str, Node] = attrs.field(factory=dict)
    peers: dict[str, Node] = attrs.field(factory=dict)
    room_changed: bool = True
    """Slots became free, or a node came or went, since this was last set to False."""
    _of_execution: dict[str, dict[str, Node]] = attrs.field(factory=dict, init=False)

    def add(self, peer: str, hello: NodeHello, *, beat_s: float, now: float) -> Node:
        """Take in a node that is not known. What it runs is to be reported next."""
        node = Node(
            node_id=hello.node_id,
            link=Link(peer=peer, beat_s=beat_s, heard_at=now),
            hostname=hello.hostname,
            pid=hello.pid,
            version=hello.version,
            python=hello.python,
            slots=hello.slots,
            revision=max(0, int(now * 1000)),  # nodes begin at 0 and take nothing below
            config=hello.config,
            labels=hello.labels,
            drain=self.drains.get(hello.node_id),
        )
        self.nodes[node.node_id] = node
        self.peers[peer] = node
        self.room_changed = True
        return node

    def update(self, node: Node, hello: NodeHello) -> bool:
        """Take in what the settings of a node say now; whether that is anything new."""
        is_new = (node.slots, node.config, node.labels) != (hello.slots, hello.config, hello.labels)
        self.room_changed = self.room_changed or node.slots != hello.slots
        node.slots, node.config, node.labels = hello.slots, hello.config, hello.labels
        return is_new

    def remove(self, node: Node) -> list[Placement]:
        """Forget a node; returns what was placed on it. What it held is to be let go by the caller."""
        del self.nodes[node.node_id]
        del self.peers[node.link.peer]
        placements = list(node.placements.values())
        for placement in placements:
            self._forget(node, placement)
        self.room_changed = True
        return placements

    # --- processes ----------------------------------------------------------------------------

    def want(self, node: Node, spec: ProcessSpec) -> None:
        """Run `spec` on `node`."""
        self._place(
            node,
            Placement(
                proc_id=spec.proc_id,
                ex_id=spec.ex_id,
                job_id=spec.job_id,
                role=spec.role,
                number=node.next_number(),
                spec=spec,
            ),
        )
        node.is_stale = True

    def adopt(self, node: Node, run: ProcessReport, spec: ProcessSpec | None) -> None:
        """Take in a process that the node runs already; without `spec` nobody wants it and it is killed.

        One that was told to end goes on ending.
        """
        placement = Placement(
            proc_id=run.proc_id,
            ex_id=run.ex_id,
            job_id=run.job_id,
            role=run.role,
            number=node.next_number(),
            spec=spec,
            sent_in=0,
            ends_at=math.inf if run.ending else None,
            is_killed=spec is None,
            pid=run.pid,
            is_reported=True,
        )
        self._place(node, placement)
        node.is_stale = True

    def end(self, ex_id: str, proc_id: str, *, until: float) -> None:
        """Drain a process until `until`, if it is placed anywhere; never later than said before."""
        node = self.node_of(ex_id, proc_id)
        if node is None:
            return
        placement = node.placements[proc_id]
        if placement.sent_in is None:
            self._forget(node, placement)
            return
        if placement.is_killed or (placement.ends_at is not None and placement.ends_at <= until):
            return
        placement.ends_at = until
        node.is_stale = True

    def kill(self, ex_id: str, proc_id: str) -> None:
        """Kill a process at once, if it is placed anywhere."""
        node = self.node_of(ex_id, proc_id)
        if node is None:
            return
        placement = node.placements[proc_id]
        if placement.sent_in is None:
            self._forget(node, placement)
        elif not placement.is_killed:
            placement.is_killed = True
            node.is_stale = True

    def take_report(
        self, node: Node, runs: Iterable[ProcessReport], exits: Iterable[ProcessExit], revision: int | None
    ) -> tuple[list[ProcessExit], list[ProcessReport]]:
        """Compare what the node runs with what is placed on it.

        Args:
            node: The node.
            runs: What it runs.
            exits: What ended there.
            revision: Of the last `NodeWanted` it had taken in, None when that is not known.

        Returns:
            What is gone now (`exits`, and what vanished without a word), and what it runs that is not
            placed there. Of the first, only what was placed there is forgotten here.
        """
        gone = {each.proc_id: each for each in exits}
        strays = []
        reported = set()
        for run in runs:
            if run.proc_id in gone:
                continue
            reported.add(run.proc_id)
            placement = node.placements.get(run.proc_id)
            if placement is None:
                strays.append(run)
                continue
            placement.pid = run.pid
            placement.is_reported = True
            if placement.sent_in is None:
                placement.sent_in = 0
        for proc_id, placement in list(node.placements.items()):
            if proc_id in reported:
                continue
            if proc_id not in gone:
                # A node starts everything in the moment in which it takes in the list, and never twice.
                if revision is None or placement.sent_in is None or revision < placement.sent_in:
                    continue
                gone[proc_id] = ProcessExit(
                    proc_id=proc_id,
                    ex_id=placement.ex_id,
                    exit_code=None,
                    signal=None,
                    detail=f"node {node.node_id} does not run it any more",
                )
            self._forget(node, placement)
        return list(gone.values()), strays

    def node_of(self, ex_id: str, proc_id: str) -> Node | None:
        """The node on which a process is placed."""
        return self._of_execution.get(ex_id, {}).get(proc_id)

    def processes_of(self, ex_id: str) -> list[str]:
        """The processes of an execution that are placed anywhere, ending ones too."""
        return list(self._of_execution.get(ex_id, ()))

    def leaves_room(self, ex_id: str) -> bool:
        """Whether a process of the execution is placed on a node that takes work: its slot is free soon."""
        return any(node.takes_work for node in self._of_execution.get(ex_id, {}).values())

    def is_ending(self, ex_id: str, proc_id: str) -> bool:
        """Whether a process is placed somewhere and is not to run on."""
        node = self.node_of(ex_id, proc_id)
        return node is not None and not node.placements[proc_id].is_wanted

    def has_processes(self, ex_id: str, *, reachable: bool) -> bool:
        """Whether any process of the execution is placed anywhere (on a node that can be reached)."""
        nodes = self._of_execution.get(ex_id, {}).values()
        return any(not reachable or node.link.is_reachable for node in nodes)

    def hold(self, node: Node, ex_id: str, number: int) -> None:
        """Keep a slot of the node for a worker that is started later."""
        node.held.add((ex_id, number))

    def let_go(self, node_id: str, ex_id: str, number: int) -> None:
        """Give up a slot that was held."""
        node = self.nodes.get(node_id)
        if node is not None and (ex_id, number) in node.held:
            node.held.discard((ex_id, number))
            self.room_changed = True

    def stale(self) -> Iterator[Node]:
        """Nodes that have to be sent a new list and can be."""
        return (node for node in self.nodes.values() if node.is_stale and node.link.is_reachable)

    def _place(self, node: Node, placement: Placement) -> None:
        node.placements[placement.proc_id] = placement
        self._of_execution.setdefault(placement.ex_id, {})[placement.proc_id] = node

    def _forget(self, node: Node, placement: Placement) -> None:
        node.placements.pop(placement.proc_id, None)
        processes = self._of_execution.get(placement.ex_id, {})
        if processes.get(placement.proc_id) is node:
            del processes[placement.proc_id]
        if not processes:
            self._of_execution.pop(placement.ex_id, None)
        self.room_changed = True
